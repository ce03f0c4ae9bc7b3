package org.json;

import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.Map;

/** A stub of Android's class, with a reader for the JSON of manifests. */
public class JSONObject {
    public static final Object NULL = new Object();
    private final Map<String, Object> values = new LinkedHashMap<>();

    public JSONObject() {}

    public JSONObject(String json) throws JSONException { values.putAll(((JSONObject) new Reader(json).value()).values); }

    public JSONObject put(String name, Object value) throws JSONException {
        values.put(name, value);
        return this;
    }

    public Iterator<String> keys() { return values.keySet().iterator(); }

    public int length() { return values.size(); }

    public boolean has(String name) { return values.containsKey(name); }

    public boolean isNull(String name) { return !has(name) || values.get(name) == NULL; }

    public Object get(String name) throws JSONException {
        if (!has(name)) throw new JSONException("No value for " + name);
        return values.get(name);
    }

    public String getString(String name) throws JSONException { return String.valueOf(get(name)); }

    public int getInt(String name) throws JSONException { return ((Number) get(name)).intValue(); }

    public double getDouble(String name) throws JSONException { return ((Number) get(name)).doubleValue(); }

    public JSONObject getJSONObject(String name) throws JSONException { return (JSONObject) get(name); }

    public JSONArray getJSONArray(String name) throws JSONException { return (JSONArray) get(name); }

    public String optString(String name) { return has(name) ? String.valueOf(values.get(name)) : ""; }

    public int optInt(String name) { return values.get(name) instanceof Number n ? n.intValue() : 0; }

    public boolean optBoolean(String name) { return Boolean.TRUE.equals(values.get(name)); }

    public JSONArray optJSONArray(String name) { return values.get(name) instanceof JSONArray a ? a : null; }

    @Override
    public String toString() { return write(this); }

    static String write(Object value) {
        StringBuilder text = new StringBuilder();
        if (value instanceof JSONObject o) {
            for (Map.Entry<String, Object> e : o.values.entrySet())
                text.append(text.length() > 0 ? "," : "").append(write(e.getKey())).append(':').append(write(e.getValue()));
            return "{" + text + "}";
        }
        if (value instanceof JSONArray a) {
            for (Object v : a.values) text.append(text.length() > 0 ? "," : "").append(write(v));
            return "[" + text + "]";
        }
        if (!(value instanceof String s)) return value == NULL ? "null" : String.valueOf(value);
        for (char c : s.toCharArray()) {
            if (c == '"' || c == '\\') text.append('\\').append(c);
            else if (c < ' ') text.append(String.format("\\u%04x", (int) c));
            else text.append(c);
        }
        return "\"" + text + "\"";
    }

    private static final class Reader {
        private final String json;
        private int at;

        Reader(String json) { this.json = json; }

        Object value() {
            char c = next();
            if (c == '{') return object();
            if (c == '[') return array();
            if (c == '"') return string();
            int start = at - 1;
            while (at < json.length() && ",]} \n\r\t".indexOf(json.charAt(at)) < 0) at++;
            String word = json.substring(start, at);
            switch (word) {
                case "null": return NULL;
                case "true": return true;
                case "false": return false;
                default: return word.matches("-?\\d{1,18}") ? (Number) Long.valueOf(word) : Double.valueOf(word);
            }
        }

        private JSONObject object() {
            JSONObject object = new JSONObject();
            for (char c = next(); c != '}'; c = next()) {
                if (c == ',') continue;
                String name = string();
                next(); // the colon
                object.put(name, value());
            }
            return object;
        }

        private JSONArray array() {
            JSONArray array = new JSONArray();
            for (char c = next(); c != ']'; c = next()) {
                if (c != ',') at--;
                if (c != ',') array.put(value());
            }
            return array;
        }

        private String string() {
            StringBuilder text = new StringBuilder();
            for (char c = json.charAt(at++); c != '"'; c = json.charAt(at++)) {
                if (c != '\\') {
                    text.append(c);
                    continue;
                }
                char e = json.charAt(at++);
                if (e == 'u') text.append((char) Integer.parseInt(json.substring(at, at += 4), 16));
                else text.append("bfnrt".indexOf(e) >= 0 ? "\b\f\n\r\t".charAt("bfnrt".indexOf(e)) : e);
            }
            return text.toString();
        }

        private char next() {
            while (Character.isWhitespace(json.charAt(at))) at++;
            return json.charAt(at++);
        }
    }
}
