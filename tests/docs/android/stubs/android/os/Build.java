package android.os;

/** A stub of Android's class: the phone that the test pretends to be. */
public class Build {
    public static final String SOC_MODEL = System.getProperty("stub.soc", "unknown");

    public static class VERSION {
        public static final int SDK_INT = 35;
    }
}
