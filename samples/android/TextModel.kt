import ai.onnxruntime.genai.Config
import ai.onnxruntime.genai.Generator
import ai.onnxruntime.genai.GeneratorParams
import ai.onnxruntime.genai.Model
import ai.onnxruntime.genai.Tokenizer
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import org.json.JSONArray
import org.json.JSONObject

/** A language model. `ids`: another tokenizer, for packages whose manifest asks for it. */
class TextModel(
    private val pack: Package, threads: Int = 4, private val ids: ((String) -> IntArray)? = null
) : AutoCloseable {
    private val model: Model
    private val tokenizer: Tokenizer
    private val tokens by lazy {
        val file = File(pack.folder, pack.model.getString("vocabulary"))
        ByteBuffer.wrap(file.readBytes()).order(ByteOrder.LITTLE_ENDIAN)
    }
    private val stop = pack.model.getJSONArray("stop").let { s -> List(s.length()) { s.getInt(it) } }
    private val marks by lazy { // what stands for special tokens
        val added = read("tokenizer.json").optJSONArray("added_tokens") ?: JSONArray()
        val special = List(added.length()) { added.getJSONObject(it) }.filter { it.optBoolean("special") }
        special.map { it.getString("content") }
    }

    init {
        val (engine, needs) = pack.engine.getString("name") to pack.model.getString("tokenizer")
        check(engine == "genai") { "for the engine $engine" }
        check(needs == "genai" || ids != null) { "GenAI's tokenizer gives other ids for this model: it needs $needs" }
        pack.checkAll() // the library reads the files itself
        model = Config(pack.folder.path).use { config ->
            config.overlay("""{"model": {"decoder": {"session_options": {"intra_op_num_threads": $threads}}}}""")
            Model(config)
        }
        tokenizer = Tokenizer(model)
    }

    /** The answer to (role, content) pairs. `onText` gets the answer so far, and returns whether to go on. */
    fun chat(messages: List<Pair<String, String>>, most: Int = 256, onText: (String) -> Boolean = { true }): String {
        val conversation = JSONArray()
        for ((role, content) in messages) {
            require(marks.none { it in content }) { "a message holds a special token, and would be read as one" }
            conversation.put(JSONObject().put("role", role).put("content", content))
        }
        val jinja = File(pack.folder, "chat_template.jinja")
        val template =
            if (jinja.exists()) jinja.readText() else read("tokenizer_config.json").getString("chat_template")
        val text = tokenizer.applyChatTemplate(template, conversation.toString(), null, true)
        return generate(ids?.invoke(text) ?: tokenizer.encode(text).use { it.getSequence(0) }, most, onText)
    }

    private fun generate(prompt: IntArray, most: Int, onText: (String) -> Boolean): String {
        val (room, sampling) = pack.model.getInt("context_length") to pack.model.getJSONObject("sampling")
        require(prompt.size < room) { "the conversation has ${prompt.size} tokens, and this package keeps $room" }
        var (answer, read) = ByteArray(0) to prompt.size
        GeneratorParams(model).use { search ->
            search.setSearchOption("max_length", room.toDouble())
            search.setSearchOption("do_sample", sampling.getDouble("temperature") > 0)
            for (name in listOf("temperature", "top_k", "top_p", "repetition_penalty"))
                if (sampling.getDouble(name) > 0) search.setSearchOption(name, sampling.getDouble(name))
            Generator(model, search).use { generator ->
                generator.appendTokens(prompt)
                for (i in 1..most) {
                    if (generator.isDone) break
                    generator.generateNextToken()
                    val all = generator.getSequence(0)
                    if (all.size == read++ || all.last() in stop) break // what ends a text may not be in it
                    answer += bytes(all.last())
                    if (!onText(answer.decodeToString())) break
                }
            }
        }
        return answer.decodeToString()
    }

    /** The bytes that a token stands for, from the package's own table. */
    private fun bytes(token: Int): ByteArray {
        val text = 12 + 5 * tokens.getInt(8) // after the head, an end and a kind of each
        fun end(i: Int) = text + if (i < 0) 0 else tokens.getInt(12 + 4 * i)
        return tokens.array().copyOfRange(end(token - 1), end(token))
    }

    private fun read(name: String) = JSONObject(File(pack.folder, name).readText())

    override fun close() {
        tokenizer.close()
        model.close()
    }
}
