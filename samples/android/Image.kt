import kotlin.math.max
import kotlin.math.min
import kotlin.math.round
import org.json.JSONObject

/** Where the image lies in the input: input = image * scale + offset. */
class Placement(val scaleX: Float, val scaleY: Float, val left: Int, val top: Int, val width: Int, val height: Int)

fun place(width: Int, height: Int, spec: JSONObject): Placement {
    val (w, h) = spec.getInt("width") to spec.getInt("height")
    val (x, y) = w / width.toDouble() to h / height.toDouble()
    if (spec.getString("resize") == "stretch") return Placement(x.toFloat(), y.toFloat(), 0, 0, w, h)
    val scale = min(x, y)
    val newWidth = round(width * scale).toInt().coerceIn(1, w)
    val newHeight = round(height * scale).toInt().coerceIn(1, h)
    val centred = spec.getString("resize") == "letterbox" // else letterbox-topleft
    fun margin(room: Int) = if (centred) round(room / 2.0 - 0.1).toInt() else 0
    return Placement(scale.toFloat(), scale.toFloat(), margin(w - newWidth), margin(h - newHeight), newWidth, newHeight)
}

/** Pixels as 0xAARRGGBB into the input tensor: bilinear with half-pixel centres, then as the manifest says. */
class Preprocessor(private val tensor: Tensor, private val spec: JSONObject) {
    val buffer = tensor.newBuffer()
    private val bgr = spec.getString("color") == "bgr"
    private val levels = List(3) { channel -> // what each of the 256 values of a pixel becomes
        val (mean, std) = spec.getJSONArray("mean").getDouble(channel) to spec.getJSONArray("std").getDouble(channel)
        FloatArray(256) { pixel ->
            val number = pixel * (1 / std).toFloat() + (-mean / std).toFloat()
            when {
                tensor.type == "float32" -> number
                tensor.scale == null -> pixel.toFloat() // the graph itself turns pixels into numbers
                else -> (round(number / tensor.scale).toInt() + tensor.zeroPoint).coerceIn(tensor.range).toFloat()
            }
        }
    }

    fun write(pixels: IntArray, width: Int, height: Int): Placement {
        val at = place(width, height, spec)
        val (w, h) = spec.getInt("width") to spec.getInt("height")
        val (across, down) = Taps(width, at.width) to Taps(height, at.height)
        for (y in 0 until h) for (x in 0 until w) for (channel in 0..2) {
            val (column, row) = x - at.left to y - at.top
            val inside = column in 0 until at.width && row in 0 until at.height
            fun level(i: Int, j: Int) = pixels[j * width + i] shr (if (bgr) 8 * channel else 16 - 8 * channel) and 0xFF
            fun rows(i: Int): Int {
                val (above, below) = level(i, down.low[row]) to level(i, down.high[row])
                return (above * (2048 - down.weight[row]) + below * down.weight[row]) shr 4
            }
            fun pixel(): Int {
                val (left, right) = rows(across.low[column]) to rows(across.high[column])
                return (left * (2048 - across.weight[column]) + right * across.weight[column] + (1 shl 17)) shr 18
            }
            val value = levels[channel][if (inside) pixel() else spec.getInt("pad")]
            val index = if (tensor.planar) (channel * h + y) * w + x else (y * w + x) * 3 + channel
            when (tensor.bytesEach) {
                4 -> buffer.putFloat(index * 4, value)
                2 -> buffer.putShort(index * 2, value.toInt().toShort())
                else -> buffer.put(index, value.toInt().toByte())
            }
        }
        return at
    }
}

/** For each target pixel its two neighbours in the source, and the weight of the second in 1/2048. */
private class Taps(source: Int, target: Int) {
    private val centre = DoubleArray(target) { max((it + 0.5) * (source.toDouble() / target) - 0.5, 0.0) }
    val low = IntArray(target) { min(centre[it].toInt(), source - 1) }
    val high = IntArray(target) { min(low[it] + 1, source - 1) }
    val weight = IntArray(target) { round((centre[it] - low[it]) * 2048).toInt() }
}
