package android.content.res;

import java.io.File;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;

/** A stub of Android's class: assets are the files of a folder. */
public final class AssetManager {
    private final File folder;

    public AssetManager(File folder) { this.folder = folder; } // an app has it from its Context

    public InputStream open(String fileName) throws IOException { return new FileInputStream(new File(folder, fileName)); }
}
