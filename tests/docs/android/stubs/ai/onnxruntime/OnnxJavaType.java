package ai.onnxruntime;

/** A stub of ONNX Runtime's class: there is no unsigned type of 16 bits in the real one either. */
public enum OnnxJavaType {
    FLOAT, DOUBLE, INT8, INT16, INT32, INT64, BOOL, STRING, UINT8, FLOAT16, BFLOAT16, UNKNOWN
}
