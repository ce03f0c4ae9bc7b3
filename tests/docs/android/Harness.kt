// Runs on a JVM what docs/android.md shows: asks the test what to do next, and tells it the result.
import android.content.Context
import android.content.pm.ApplicationInfo
import android.content.res.AssetManager
import android.graphics.Bitmap
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import org.json.JSONArray
import org.json.JSONObject
import stub.Bridge

private class Phone(assets: File, private val files: File) : Context() {
    private val manager = AssetManager(assets)

    override fun getFilesDir() = files
    override fun getAssets() = manager
    override fun getApplicationInfo() = ApplicationInfo().also { it.nativeLibraryDir = "/data/app/lib/arm64" }
}

fun main(arguments: Array<String>) {
    val phone = Phone(File(arguments[0]), File(arguments[1]))
    var result: Any = "ready"
    while (true) {
        val asked = Bridge.ask("result", result)
        val words = asked.map { Bridge.text(it) }
        result = try {
            when (words[0]) {
                "detect" -> detect(phone, words, asked[4])
                "prepare" -> prepare(words, asked[4])
                "detections" -> decode(words, asked)
                "chat" -> chat(phone, words)
                "example" -> example(phone, words, asked[4])
                else -> return
            }
        } catch (e: Exception) {
            "failed: ${e.message}"
        }
    }
}

private fun detect(phone: Phone, words: List<String>, pixels: ByteArray): String {
    val bitmap = Bitmap.createBitmap(colors(pixels), words[2].toInt(), words[3].toInt(), Bitmap.Config.ARGB_8888)
    openDetector(phone, copyPackage(phone, words[1])).use { detector ->
        detector.detect(bitmap) // the buffers of an image before must not show
        return write(detector.detect(bitmap))
    }
}

/** The input tensor as Kotlin makes it, for any manifest. */
private fun prepare(words: List<String>, pixels: ByteArray): ByteArray {
    val model = JSONObject(words[1])
    val preprocessor = Preprocessor(Tensor(model.getJSONObject("input")), model.getJSONObject("image"))
    preprocessor.write(colors(pixels), words[2].toInt(), words[3].toInt())
    return Bridge.bytes(preprocessor.buffer)
}

/** A graph's outputs, named and in float32, into detections. */
private fun decode(words: List<String>, asked: Array<ByteArray>): String {
    val (width, height) = words[2].toInt() to words[3].toInt()
    val model = JSONObject(words[1])
    val outputs = (4 until asked.size step 2).associate { i ->
        val floats = ByteBuffer.wrap(asked[i + 1]).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer()
        words[i] to FloatArray(floats.remaining()).also { floats.get(it) }
    }
    return write(detections(model, outputs, place(width, height, model.getJSONObject("image")), width, height))
}

private fun chat(phone: Phone, words: List<String>): String {
    val ids: (String) -> IntArray = { text ->
        Bridge.text(Bridge.ask("ids", text)[0]).split(" ").map(String::toInt).toIntArray()
    }
    TextModel(Package(copyPackage(phone, words[1])), ids = if (words[2] == "other") ids else null).use { model ->
        var pieces = 0
        val text = model.chat(listOf("user" to words[3]), most = words[4].toInt()) { pieces++; true }
        return JSONObject().put("text", text).put("pieces", pieces).toString()
    }
}

private fun example(phone: Phone, words: List<String>, pixels: ByteArray): String {
    val bitmap = Bitmap.createBitmap(colors(pixels), words[2].toInt(), words[3].toInt(), Bitmap.Config.ARGB_8888)
    return describe(phone, bitmap, words[1]).joinToString("\n")
}

private fun colors(rgb: ByteArray) = IntArray(rgb.size / 3) { i ->
    fun level(k: Int) = rgb[3 * i + k].toInt() and 0xFF
    (0xFF shl 24) or (level(0) shl 16) or (level(1) shl 8) or level(2)
}

private fun write(found: List<Detection>): String {
    val all = JSONArray()
    for (d in found) {
        val box = JSONArray()
        d.box.forEach { box.put(it.toDouble()) }
        all.put(JSONObject().put("label", d.label).put("score", d.score.toDouble()).put("box", box))
    }
    return all.toString()
}
