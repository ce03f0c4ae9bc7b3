package ai.onnxruntime;

import java.nio.Buffer;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.IntBuffer;
import java.nio.ShortBuffer;
import java.util.Arrays;

/** A stub of ONNX Runtime's class. A tensor that a session gave may have types that none made here has. */
public class OnnxTensor extends OnnxTensorLike {
    final String dtype; // numpy's name
    final long[] shape;
    final byte[] bytes;

    OnnxTensor(String dtype, long[] shape, byte[] bytes) {
        this.dtype = dtype;
        this.shape = shape;
        this.bytes = bytes;
    }

    public static OnnxTensor createTensor(OrtEnvironment env, FloatBuffer data, long[] shape) throws OrtException {
        ByteBuffer bytes = room(data, shape, 4);
        bytes.asFloatBuffer().put(data.duplicate());
        return new OnnxTensor("float32", shape, bytes.array());
    }

    public static OnnxTensor createTensor(OrtEnvironment env, IntBuffer data, long[] shape) throws OrtException {
        ByteBuffer bytes = room(data, shape, 4);
        bytes.asIntBuffer().put(data.duplicate());
        return new OnnxTensor("int32", shape, bytes.array());
    }

    public static OnnxTensor createTensor(OrtEnvironment env, ShortBuffer data, long[] shape, OnnxJavaType type)
        throws OrtException {
        if (type != OnnxJavaType.INT16) throw new OrtException("not of shorts: " + type);
        ByteBuffer bytes = room(data, shape, 2);
        bytes.asShortBuffer().put(data.duplicate());
        return new OnnxTensor("int16", shape, bytes.array());
    }

    public static OnnxTensor createTensor(OrtEnvironment env, ByteBuffer data, long[] shape, OnnxJavaType type)
        throws OrtException {
        if (type != OnnxJavaType.UINT8 && type != OnnxJavaType.INT8) throw new OrtException("not of bytes here: " + type);
        ByteBuffer bytes = room(data, shape, 1);
        bytes.put(data.duplicate());
        return new OnnxTensor(type == OnnxJavaType.UINT8 ? "uint8" : "int8", shape, bytes.array());
    }

    private static ByteBuffer room(Buffer data, long[] shape, int each) throws OrtException {
        long count = Arrays.stream(shape).reduce(1, (a, b) -> a * b);
        if (count != data.remaining())
            throw new OrtException("Shape " + Arrays.toString(shape) + " and " + data.remaining() + " elements");
        return ByteBuffer.allocate((int) count * each).order(ByteOrder.nativeOrder());
    }

    /** A copy; as the real one's, in an order that the caller must set. */
    public ByteBuffer getByteBuffer() {
        if (closed) throw new IllegalStateException("Trying to read from a closed OnnxTensor.");
        return ByteBuffer.wrap(bytes.clone());
    }
}
