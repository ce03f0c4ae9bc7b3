import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.security.DigestInputStream
import java.security.MessageDigest
import org.json.JSONObject

/** A package in a folder that only this app writes to. */
class Package(val folder: File) {
    private val manifest = JSONObject(File(folder, "manifest.json").readText())
    val engine: JSONObject = manifest.getJSONObject("engine")
    val model: JSONObject = manifest.getJSONObject("model")
    val input by lazy { Tensor(model.getJSONObject("input")) }
    val outputs by lazy { model.getJSONArray("outputs").let { o -> List(o.length()) { Tensor(o.getJSONObject(it)) } } }

    init {
        val schema = manifest.getString("schema")
        check(schema == "edgekit.package/1") { "made by another edgekit: $schema" }
    }

    /** The file for the engine, checked; of a package for NPUs the one for this chip. */
    fun artifact(chip: String): File {
        val chips = engine.getJSONObject("chips")
        val name = if (chips.length() == 0) engine.getString("artifact") else chips.optString(chip.uppercase())
        check(name.isNotEmpty()) { "not for $chip, but for ${chips.keys().asSequence().joinToString()}" }
        return checked(name)
    }

    fun checkAll() = manifest.getJSONObject("files").keys().forEach { checked(it) }

    private fun checked(name: String): File {
        val (file, digest) = File(folder, name) to MessageDigest.getInstance("SHA-256")
        val part = ByteArray(1 shl 16)
        DigestInputStream(file.inputStream(), digest).use { while (it.read(part) >= 0) continue }
        val hash = digest.digest().joinToString("") { "%02x".format(it) }
        val listed = manifest.getJSONObject("files").getJSONObject(name).getString("sha256")
        check(hash == listed) { "$name is not the file that was packaged" }
        return file
    }
}

/** An input or output. Where it has a scale, an integer stands for (integer - zeroPoint) * scale. */
class Tensor(json: JSONObject) {
    val name: String = json.getString("name")
    val type: String = json.getString("dtype")
    val shape = json.getJSONArray("shape").let { s -> LongArray(s.length()) { s.getLong(it) } }
    val planar = json.optString("layout").endsWith("CHW") // else the channels of a pixel lie together
    val scale = if (json.isNull("scale")) null else json.getDouble("scale").toFloat()
    val zeroPoint = json.optInt("zero_point")
    val bytesEach = when (type) { "float32" -> 4; "int16", "uint16" -> 2; else -> 1 }
    val range = when (type) { "int8" -> -128..127; "int16" -> -32768..32767; "uint16" -> 0..65535; else -> 0..255 }

    fun newBuffer(): ByteBuffer =
        ByteBuffer.allocateDirect(shape.fold(bytesEach) { a, b -> a * b.toInt() }).order(ByteOrder.nativeOrder())

    /** What the bytes of such a tensor stand for. */
    fun numbers(bytes: ByteBuffer): FloatArray {
        val b = bytes.order(ByteOrder.nativeOrder())
        return FloatArray(b.limit() / bytesEach) { i ->
            if (type == "float32") return@FloatArray b.getFloat(4 * i)
            val signed = if (bytesEach == 2) b.getShort(2 * i).toInt() else b.get(i).toInt()
            val whole = if (range.first == 0) signed and range.last else signed
            if (scale == null) whole.toFloat() else (whole - zeroPoint) * scale
        }
    }
}
