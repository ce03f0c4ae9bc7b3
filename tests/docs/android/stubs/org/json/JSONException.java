package org.json;

/** A stub of Android's class. */
public class JSONException extends RuntimeException {
    public JSONException(String message) { super(message); }
}
