package stub;

import java.io.BufferedInputStream;
import java.io.BufferedOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.FileDescriptor;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;

/** Behind every stub of an engine: the test, in Python, has the real library and answers over stdin and stdout. */
public final class Bridge {
    private static final DataInputStream IN =
        new DataInputStream(new BufferedInputStream(new FileInputStream(FileDescriptor.in)));
    private static final DataOutputStream OUT =
        new DataOutputStream(new BufferedOutputStream(new FileOutputStream(FileDescriptor.out)));

    private Bridge() {}

    /** Sends a word and what belongs to it; returns the answer's parts. Throws what the real library would. */
    public static synchronized byte[][] ask(String word, Object... parts) {
        try {
            OUT.writeInt(parts.length + 1);
            write(text(word));
            for (Object part : parts) write(part instanceof byte[] ? (byte[]) part : text(String.valueOf(part)));
            OUT.flush();
            byte[][] answer = new byte[IN.readInt()][];
            for (int i = 0; i < answer.length; i++) IN.readFully(answer[i] = new byte[IN.readInt()]);
            if (answer.length > 0 && text(answer[0]).startsWith("error: "))
                throw new IllegalStateException(text(answer[0]).substring(7));
            return answer;
        } catch (IOException e) {
            throw new IllegalStateException(e);
        }
    }

    public static String text(byte[] bytes) { return new String(bytes, StandardCharsets.UTF_8); }

    public static byte[] text(String text) { return text.getBytes(StandardCharsets.UTF_8); }

    /** The bytes between a buffer's start and its limit; the libraries read from there whatever the position. */
    public static byte[] bytes(ByteBuffer buffer) {
        byte[] bytes = new byte[buffer.limit()];
        buffer.duplicate().rewind().get(bytes);
        return bytes;
    }

    private static void write(byte[] bytes) throws IOException {
        OUT.writeInt(bytes.length);
        OUT.write(bytes);
    }
}
