import ai.onnxruntime.OnnxJavaType
import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import ai.onnxruntime.OrtSession
import android.content.Context
import android.os.Build
import android.system.Os
import java.nio.ByteBuffer
import java.nio.IntBuffer
import java.util.Base64

/** Opens packages with the engine `onnxruntime`, on the CPU, and `qnn`, on the NPU. */
class OnnxRuntimeEngine(private val context: Context, private val pack: Package, threads: Int = 4) : Engine {
    private val environment: OrtEnvironment
    private val session: OrtSession
    private val toUnsigned: OrtSession?

    init {
        val npu = pack.engine.getString("name") == "qnn"
        val chip = if (!npu) "" else if (Build.VERSION.SDK_INT >= 31) Build.SOC_MODEL else "a phone that does not say"
        // Where the DSP looks for its half of the library: set before the first session of the process.
        if (npu) Os.setenv("ADSP_LIBRARY_PATH", context.applicationInfo.nativeLibraryDir, true)
        environment = OrtEnvironment.getEnvironment()
        session = OrtSession.SessionOptions().use { options ->
            if (npu) {
                options.addConfigEntry("session.disable_cpu_ep_fallback", "1") // all on the NPU, or an error
                val how = mapOf("backend_type" to "htp", "htp_performance_mode" to "burst")
                val edges = mapOf("offload_graph_io_quantization" to "0") // the NPU rounds, as it was compiled to
                options.addExecutionProvider(npus(environment), how + edges)
            } else options.setIntraOpNumThreads(threads)
            environment.createSession(pack.artifact(chip).path, options)
        }
        val unsigned = pack.input.type == "uint16"
        toUnsigned = if (unsigned) environment.createSession(Base64.getDecoder().decode(CAST)) else null
    }

    override fun run(input: ByteBuffer): Map<String, FloatArray> = tensor(input).use { made ->
        val unsigned = toUnsigned?.run(mapOf("a" to made))
        try {
            val given = unsigned?.let { it.get(0) as OnnxTensor } ?: made
            session.run(mapOf(pack.input.name to given)).use { result ->
                pack.outputs.associate { it.name to it.numbers((result.get(it.name).get() as OnnxTensor).byteBuffer) }
            }
        } finally {
            unsigned?.close()
        }
    }

    private fun tensor(b: ByteBuffer): OnnxTensor = when (pack.input.type) {
        "float32" -> OnnxTensor.createTensor(environment, b.asFloatBuffer(), pack.input.shape)
        "uint8" -> OnnxTensor.createTensor(environment, b, pack.input.shape, OnnxJavaType.UINT8)
        "int8" -> OnnxTensor.createTensor(environment, b, pack.input.shape, OnnxJavaType.INT8)
        "int16" -> OnnxTensor.createTensor(environment, b.asShortBuffer(), pack.input.shape, OnnxJavaType.INT16)
        else -> { // uint16, which Java's API cannot make: ints, and the small graph below makes it of them
            val ints = IntArray(b.limit() / 2) { b.getShort(it * 2).toInt() and 0xFFFF }
            OnnxTensor.createTensor(environment, IntBuffer.wrap(ints), pack.input.shape)
        }
    }

    override fun close() {
        toUnsigned?.close()
        session.close() // the environment is the process's own
    }

    companion object {
        private const val PROVIDER = "QNNExecutionProvider"
        private const val CAST = "CAg6MgoXCgFhEgFiIgRDYXN0KgkKAnRvGASgAQISAWNaCQoBYRIECgIIBmIJCgFiEgQKAggEQgQKABAV"

        @Synchronized
        private fun npus(environment: OrtEnvironment) = environment.run {
            fun have() = epDevices.filter { it.epName == PROVIDER }
            if (have().isEmpty()) registerExecutionProviderLibrary(PROVIDER, "libonnxruntime_providers_qnn.so")
            have().ifEmpty { error("ONNX Runtime finds no NPU") }
        }
    }
}
