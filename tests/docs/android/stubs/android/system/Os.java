package android.system;

import stub.Bridge;

/** A stub of Android's class. */
public final class Os {
    public static void setenv(String name, String value, boolean overwrite) throws ErrnoException {
        Bridge.ask("setenv", name, value);
    }
}
