package android.system;

/** A stub of Android's class. */
public final class ErrnoException extends Exception {}
