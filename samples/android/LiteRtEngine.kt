import java.nio.ByteBuffer
import org.tensorflow.lite.Interpreter

/** Opens packages with the engine `litert`. */
class LiteRtEngine(private val pack: Package, threads: Int = 4) : Engine {
    private val interpreter = Interpreter(pack.artifact(""), Interpreter.Options().setNumThreads(threads))
    private val buffers = pack.outputs.associateWith { it.newBuffer() }
    private val places = buffers.entries.associate { (t, b) -> interpreter.getOutputIndex(t.name) to b as Any }

    override fun run(input: ByteBuffer): Map<String, FloatArray> {
        (buffers.values + input).forEach { it.rewind() }
        interpreter.runForMultipleInputsOutputs(arrayOf(input), places)
        return buffers.entries.associate { (t, b) -> t.name to t.numbers(b) }
    }

    override fun close() = interpreter.close()
}
