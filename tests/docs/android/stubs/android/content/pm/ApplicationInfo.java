package android.content.pm;

/** A stub of Android's class. */
public class ApplicationInfo {
    public String nativeLibraryDir;
}
