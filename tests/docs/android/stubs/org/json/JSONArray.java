package org.json;

import java.util.ArrayList;
import java.util.List;

/** A stub of Android's class. */
public class JSONArray {
    final List<Object> values = new ArrayList<>();

    public int length() { return values.size(); }

    public Object get(int index) { return values.get(index); }

    public String getString(int index) { return String.valueOf(values.get(index)); }

    public int getInt(int index) { return ((Number) values.get(index)).intValue(); }

    public long getLong(int index) { return ((Number) values.get(index)).longValue(); }

    public double getDouble(int index) { return ((Number) values.get(index)).doubleValue(); }

    public JSONObject getJSONObject(int index) { return (JSONObject) values.get(index); }

    public JSONArray put(Object value) {
        values.add(value);
        return this;
    }

    @Override
    public String toString() { return JSONObject.write(this); }
}
