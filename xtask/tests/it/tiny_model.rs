//! A model for a real Ollama, small enough to be made while a test runs: one layer, random weights, no sense.
//!
//! The format is GGUF 3 (`docs/gguf.md` of github.com/ggml-org/ggml).

use std::path::Path;

const TEXT: u32 = 8;
const UNSIGNED: u32 = 4;
const FLOAT: u32 = 6;
const SIGNED: u32 = 5;
const LIST: u32 = 9;

/// Where tensors begin.
const ALIGNMENT: usize = 32;

const WIDTH: u32 = 64;
const HEADS: u32 = 4;
const INNER: u32 = 128;

/// Writes the model, and a Modelfile for `ollama create` beside it.
pub fn write(folder: &Path) {
    std::fs::write(folder.join("tiny.gguf"), gguf()).unwrap();
    let modelfile = "FROM ./tiny.gguf\nPARAMETER num_predict 8\nPARAMETER temperature 0\nPARAMETER seed 1\n";
    std::fs::write(folder.join("Modelfile"), modelfile).unwrap();
}

fn gguf() -> Vec<u8> {
    let tokens = tokens();
    let words = u32::try_from(tokens.len()).unwrap();
    let mut facts = Facts::default();
    facts.text("general.architecture", "llama");
    facts.text("general.name", "tiny");
    for (name, value) in [
        ("llama.context_length", 512),
        ("llama.embedding_length", WIDTH),
        ("llama.block_count", 1),
        ("llama.feed_forward_length", INNER),
        ("llama.attention.head_count", HEADS),
        ("llama.attention.head_count_kv", HEADS),
        ("llama.rope.dimension_count", WIDTH / HEADS),
        ("llama.vocab_size", words),
        ("tokenizer.ggml.unknown_token_id", 0),
        ("tokenizer.ggml.bos_token_id", 1),
        ("tokenizer.ggml.eos_token_id", 2),
    ] {
        facts.one(name, UNSIGNED, &value.to_le_bytes());
    }
    facts.one("llama.attention.layer_norm_rms_epsilon", FLOAT, &1e-5_f32.to_le_bytes());
    facts.text("tokenizer.ggml.model", "llama");
    facts.list("tokenizer.ggml.tokens", TEXT, tokens.iter().map(|(token, _)| text(token)));
    facts.list("tokenizer.ggml.scores", FLOAT, (0..words).map(|place| (-(place as f32)).to_le_bytes().to_vec()));
    facts.list("tokenizer.ggml.token_type", SIGNED, tokens.iter().map(|(_, kind)| kind.to_le_bytes().to_vec()));

    let (mut described, mut data, mut random) = (Vec::new(), Vec::new(), Random(7));
    let tensors = tensors(words);
    for (name, sides) in &tensors {
        described.extend(text(name));
        described.extend(u32::try_from(sides.len()).unwrap().to_le_bytes());
        sides.iter().for_each(|side| described.extend(u64::from(*side).to_le_bytes()));
        // Type 0 is a 32-bit float.
        described.extend(0_u32.to_le_bytes());
        described.extend((data.len() as u64).to_le_bytes());
        for _ in 0..sides.iter().product::<u32>() {
            let value = if name.contains("norm") { 1.0 } else { random.next() };
            data.extend(value.to_le_bytes());
        }
        data.resize(data.len().next_multiple_of(ALIGNMENT), 0);
    }
    let mut file = b"GGUF".to_vec();
    file.extend(3_u32.to_le_bytes());
    file.extend((tensors.len() as u64).to_le_bytes());
    file.extend(facts.count.to_le_bytes());
    file.extend(facts.bytes);
    file.extend(described);
    file.resize(file.len().next_multiple_of(ALIGNMENT), 0);
    file.extend(data);
    file
}

/// Tokens with their types: 2 unknown, 3 control, 6 a byte, 1 ordinary.
fn tokens() -> Vec<(String, i32)> {
    let mut tokens = vec![("<unk>".to_owned(), 2), ("<s>".to_owned(), 3), ("</s>".to_owned(), 3)];
    tokens.extend((0..=255).map(|byte| (format!("<0x{byte:02X}>"), 6)));
    tokens.extend("one two three the a sky blue is why".split(' ').map(|word| (format!("\u{2581}{word}"), 1)));
    tokens.push(("\u{2581}".to_owned(), 1));
    tokens.extend(('a'..='z').map(|letter| (letter.to_string(), 1)));
    tokens
}

fn tensors(words: u32) -> Vec<(String, Vec<u32>)> {
    let square = ["q", "k", "v", "output"].map(|name| (format!("blk.0.attn_{name}.weight"), vec![WIDTH, WIDTH]));
    let mut tensors = vec![
        ("token_embd.weight".to_owned(), vec![WIDTH, words]),
        ("output_norm.weight".to_owned(), vec![WIDTH]),
        ("output.weight".to_owned(), vec![WIDTH, words]),
        ("blk.0.attn_norm.weight".to_owned(), vec![WIDTH]),
        ("blk.0.ffn_norm.weight".to_owned(), vec![WIDTH]),
        ("blk.0.ffn_gate.weight".to_owned(), vec![WIDTH, INNER]),
        ("blk.0.ffn_up.weight".to_owned(), vec![WIDTH, INNER]),
        ("blk.0.ffn_down.weight".to_owned(), vec![INNER, WIDTH]),
    ];
    tensors.extend(square);
    tensors
}

#[derive(Default)]
struct Facts {
    count: u64,
    bytes: Vec<u8>,
}

impl Facts {
    fn one(&mut self, name: &str, kind: u32, value: &[u8]) {
        self.count += 1;
        self.bytes.extend(text(name));
        self.bytes.extend(kind.to_le_bytes());
        self.bytes.extend(value);
    }

    fn text(&mut self, name: &str, value: &str) {
        self.one(name, TEXT, &text(value));
    }

    fn list(&mut self, name: &str, kind: u32, items: impl Iterator<Item = Vec<u8>>) {
        let items: Vec<Vec<u8>> = items.collect();
        let head = [kind.to_le_bytes().to_vec(), (items.len() as u64).to_le_bytes().to_vec()].concat();
        self.one(name, LIST, &[head, items.concat()].concat());
    }
}

fn text(value: &str) -> Vec<u8> {
    [&(value.len() as u64).to_le_bytes(), value.as_bytes()].concat()
}

/// The same weights each time: xorshift64, spread over ± 0.5.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 40) as f32 / (1 << 24) as f32 - 0.5
    }
}
