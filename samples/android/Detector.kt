import android.content.Context
import android.graphics.Bitmap
import java.io.File
import java.nio.ByteBuffer
import kotlin.math.max
import kotlin.math.min
import org.json.JSONObject

/** What runs the package's file: the input's bytes in, the outputs by name out. */
interface Engine : AutoCloseable { fun run(input: ByteBuffer): Map<String, FloatArray> }

class Detection(val label: String, val score: Float, val box: FloatArray) // x1, y1, x2, y2 in the bitmap

/** Not for several threads at once: its buffers are reused. */
class Detector(private val pack: Package, private val engine: Engine) : AutoCloseable by engine {
    private val preprocessor = Preprocessor(pack.input, pack.model.getJSONObject("image"))

    fun detect(bitmap: Bitmap): List<Detection> { // ARGB_8888, upright
        val (width, height) = bitmap.width to bitmap.height
        val pixels = IntArray(width * height)
        bitmap.getPixels(pixels, 0, width, 0, 0, width, height)
        val at = preprocessor.write(pixels, width, height)
        return detections(pack.model, engine.run(preprocessor.buffer), at, width, height)
    }
}

/** boxes (1, N, 4) and scores (1, C, N) into detections, best first; or what a graph gives that suppressed already. */
fun detections(
    model: JSONObject, outputs: Map<String, FloatArray>, at: Placement, width: Int, height: Int
): List<Detection> {
    val (boxes, scores) = outputs.getValue("boxes") to outputs.getValue("scores")
    val n = boxes.size / 4
    val done = model.optBoolean("nms_in_graph") // then scores and classes are (1, N)
    val kinds = IntArray(n) { i ->
        if (done) Math.rint(outputs.getValue("classes")[i].toDouble()).toInt()
        else (1 until scores.size / n).fold(0) { best, c -> if (scores[c * n + i] > scores[best * n + i]) c else best }
    }
    fun score(i: Int) = if (done) scores[i] else scores[kinds[i] * n + i]
    fun area(x1: Float, y1: Float, x2: Float, y2: Float) = max(x2 - x1, 0f) * max(y2 - y1, 0f)
    fun area(i: Int) = area(boxes[4 * i], boxes[4 * i + 1], boxes[4 * i + 2], boxes[4 * i + 3])
    fun overlap(i: Int, j: Int): Boolean {
        fun low(k: Int) = max(boxes[4 * i + k], boxes[4 * j + k])
        fun high(k: Int) = min(boxes[4 * i + k], boxes[4 * j + k])
        val shared = area(low(0), low(1), high(2), high(3))
        return shared > model.getDouble("iou_threshold").toFloat() * (area(i) + area(j) - shared)
    }
    val (kept, least) = ArrayList<Int>() to model.getDouble("score_threshold").toFloat()
    for (i in (0 until n).filter { score(it) > least }.sortedByDescending(::score)) {
        if (kept.size == model.getInt("max_detections")) break
        if (done || kept.none { kinds[it] == kinds[i] && overlap(it, i) }) kept.add(i)
    }
    return kept.map { i ->
        fun x(k: Int) = ((boxes[4 * i + k] - at.left) / at.scaleX).coerceIn(0f, width.toFloat())
        fun y(k: Int) = ((boxes[4 * i + k] - at.top) / at.scaleY).coerceIn(0f, height.toFloat())
        Detection(model.getJSONArray("labels").getString(kinds[i]), score(i), floatArrayOf(x(0), y(1), x(2), y(3)))
    }
}

/** A package in the app's assets as files, which can be checked and mapped. */
fun copyPackage(context: Context, name: String): File {
    val folder = File(context.filesDir, name)
    val manifest = context.assets.open("$name/manifest.json").use { it.readBytes().decodeToString() }
    for (file in JSONObject(manifest).getJSONObject("files").keys().asSequence() + "manifest.json") {
        val target = File(folder, file).apply { parentFile?.mkdirs() }
        context.assets.open("$name/$file").use { from -> target.outputStream().use { from.copyTo(it) } }
    }
    return folder
}

/** The road that the package asks for. An app with one kind of package needs one of the two engines. */
fun openDetector(context: Context, folder: File): Detector {
    val pack = Package(folder)
    val lite = pack.engine.getString("name") == "litert"
    return Detector(pack, if (lite) LiteRtEngine(pack) else OnnxRuntimeEngine(context, pack))
}
