import json

import numpy as np
import pytest
from embedded_helpers import CONFIG, random_weights, write_model
from safetensors.numpy import save_file

from nemo_skills_specdec.embedded.llama import KeyValueCache, Llama, load
from nemo_skills_specdec.embedded.weights import LlamaConfig, read_config, read_weights
from nemo_skills_specdec.errors import DataError


def reference(config: dict, weights: dict[str, np.ndarray], tokens: list[int]) -> np.ndarray:
    """Logits of every position by the textbook: one position and one head at a time, in float64."""
    w = {name: tensor.astype(np.float64) for name, tensor in weights.items()}
    size, heads, groups = config["head_dim"], config["num_attention_heads"], config["num_key_value_heads"]

    def norm(x, gain):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + config["rms_norm_eps"]) * gain

    def turn(x, position):
        half = size // 2
        angle = position * config["rope_theta"] ** (-np.arange(half) * 2 / size)
        a, b = x[:half], x[half:]
        return np.concatenate([a * np.cos(angle) - b * np.sin(angle), b * np.cos(angle) + a * np.sin(angle)])

    x = w["model.embed_tokens.weight"][tokens]
    for layer in range(config["num_hidden_layers"]):
        p = f"model.layers.{layer}."
        y = norm(x, w[p + "input_layernorm.weight"])
        q, k, v = (y @ w[p + f"self_attn.{name}_proj.weight"].T for name in "qkv")
        out = np.zeros((len(tokens), heads * size))
        for head in range(heads):
            group = head // (heads // groups)
            for t in range(len(tokens)):
                query = turn(q[t, head * size : (head + 1) * size], t)
                keys = np.array([turn(k[s, group * size : (group + 1) * size], s) for s in range(t + 1)])
                scores = np.exp(keys @ query / np.sqrt(size))
                values = v[: t + 1, group * size : (group + 1) * size]
                out[t, head * size : (head + 1) * size] = scores @ values / scores.sum()
        x = x + out @ w[p + "self_attn.o_proj.weight"].T
        y = norm(x, w[p + "post_attention_layernorm.weight"])
        gate = y @ w[p + "mlp.gate_proj.weight"].T
        x = x + (gate / (1 + np.exp(-gate)) * (y @ w[p + "mlp.up_proj.weight"].T)) @ w[p + "mlp.down_proj.weight"].T
    head = w.get("lm_head.weight", w["model.embed_tokens.weight"])
    return norm(x, w["model.norm.weight"]) @ head.T


SHAPES = {
    "grouped queries, untied head": CONFIG,
    "one key head, tied": {**CONFIG, "num_key_value_heads": 1, "tie_word_embeddings": True},
    "full heads": {**CONFIG, "num_key_value_heads": 4, "rope_theta": 10000.0, "rms_norm_eps": 1e-6},
}


def build(config: dict) -> tuple[Llama, dict[str, np.ndarray]]:
    weights = random_weights(config)
    return Llama(LlamaConfig(**config), weights, positions=100), weights


def cache(model: Llama, slots: int = 1) -> KeyValueCache:
    return KeyValueCache(model.config, slots=slots, capacity=100)


def tokens_of(length: int, seed: int = 0) -> list[int]:
    return np.random.default_rng(seed).integers(0, 320, length).tolist()


@pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES.keys())
def test_logits_equal_a_textbook_implementation(config):
    model, weights = build(config)
    tokens = tokens_of(20)
    logits = model.logits(model.forward(cache(model), np.array([tokens]), np.array([0])))
    np.testing.assert_allclose(logits, reference(config, weights, tokens), atol=2e-4)


def test_reading_in_pieces_equals_reading_at_once():
    model, _ = build(CONFIG)
    tokens = np.array([tokens_of(30)])
    whole = model.forward(cache(model), tokens, np.array([0]))
    pieces, memory, start = [], cache(model), 0
    for length in (1, 4, 17, 1, 7):
        pieces.append(model.forward(memory, tokens[:, start : start + length], np.array([start])))
        start += length
    np.testing.assert_allclose(np.concatenate(pieces), whole, atol=1e-4)


def test_a_batch_of_different_lengths_equals_each_sequence_alone():
    model, _ = build(CONFIG)
    memory = cache(model, slots=3)
    prompts = [tokens_of(length, seed=length) for length in (5, 21, 11)]
    for slot, prompt in enumerate(prompts):
        model.forward(memory, np.array([prompt]), np.array([0]), first_slot=slot)
    more = [tokens_of(length, seed=50 + length) for length in (4, 1, 3)]
    padded = np.zeros((3, 4), np.int64)
    for row, extra in enumerate(more):
        padded[row, : len(extra)] = extra
    rows = np.array([0, 1, 2, 3, 4, 8, 9, 10])
    together = model.forward(memory, padded, np.array([5, 21, 11]), rows=rows)
    alone = [
        model.forward(cache(model), np.array([prompt + extra]), np.array([0]))[len(prompt) :]
        for prompt, extra in zip(prompts, more, strict=True)
    ]
    np.testing.assert_allclose(together, np.concatenate(alone), atol=1e-4)


def test_positions_can_be_overwritten_after_refused_drafts():
    model, _ = build(CONFIG)
    memory = cache(model)
    tokens = tokens_of(12)
    model.forward(memory, np.array([[*tokens[:8], 7, 7, 7]]), np.array([0]))
    again = model.forward(memory, np.array([tokens[8:]]), np.array([8]))
    fresh = model.forward(cache(model), np.array([tokens]), np.array([0]))[8:]
    np.testing.assert_allclose(again, fresh, atol=1e-4)


def test_a_moved_sequence_goes_on_where_it_was():
    model, _ = build(CONFIG)
    memory = cache(model, slots=2)
    tokens = tokens_of(10)
    model.forward(memory, np.array([tokens[:9]]), np.array([0]), first_slot=1)
    memory.move(1, 0, 9)
    moved = model.forward(memory, np.array([tokens[9:]]), np.array([9]))
    np.testing.assert_allclose(moved, model.forward(cache(model), np.array([tokens]), np.array([0]))[9:], atol=1e-4)


def test_a_cache_that_grows_in_slots_and_positions_keeps_what_it_holds():
    model = Llama(LlamaConfig(**CONFIG), random_weights(CONFIG), positions=700)
    growing = KeyValueCache(model.config, slots=3, capacity=600)
    tokens = tokens_of(520)
    model.forward(growing, np.array([tokens[:10]]), np.array([0]))
    model.forward(growing, np.array([tokens_of(5)]), np.array([0]), first_slot=2)
    assert growing.rows.shape[1] == 3
    assert growing.rows.shape[3] < 520
    grown = model.forward(growing, np.array([tokens[10:]]), np.array([10]))
    whole = model.forward(KeyValueCache(model.config, slots=1, capacity=520), np.array([tokens]), np.array([0]))
    np.testing.assert_allclose(grown, whole[10:], atol=2e-4)


def test_nodes_that_no_pass_has_read_can_be_kept_where_the_room_ends():
    model, _ = build(CONFIG)
    memory = KeyValueCache(model.config, slots=1, capacity=2000)
    memory.reserve(1, 1)
    room = memory.rows.shape[3]
    memory.keep(0, room - 2, [1, 4])
    assert memory.rows.shape[3] > room


def test_int8_matrices_are_read_with_one_scale_a_row(tmp_path):
    quantised = np.array([[-127, 0, 64], [127, 1, -1]], np.int8)
    scale = np.array([0.5, 0.25], np.float16)
    stored = {"m.weight": quantised, "m.weight.scale": scale, "norm.weight": np.array([1.5, 2], np.float16)}
    save_file(stored, tmp_path / "model.safetensors")
    weights = read_weights(tmp_path)
    assert sorted(weights) == ["m.weight", "norm.weight"]
    assert weights["m.weight"].tolist() == [[-63.5, 0, 32], [31.75, 0.25, -0.25]]
    assert weights["norm.weight"].tolist() == [1.5, 2]
    assert weights["m.weight"].dtype == np.float32


def test_a_model_folder_is_read_whole(tmp_path):
    weights = random_weights(CONFIG)
    write_model(tmp_path / "m", CONFIG, weights)
    model = load(tmp_path / "m", positions=50)
    tokens = tokens_of(6)
    logits = model.logits(model.forward(cache(model), np.array([tokens]), np.array([0])))
    np.testing.assert_allclose(logits, reference(CONFIG, weights, tokens), atol=2e-4)


def test_newer_configurations_keep_the_rotary_base_elsewhere(tmp_path):
    config = {**CONFIG, "rope_parameters": {"rope_theta": 777.0, "rope_type": "default"}, "eos_token_id": [1, 2]}
    del config["rope_theta"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    read = read_config(tmp_path)
    assert read.rope_base == 777.0
    assert read.eos_token_ids == {1, 2}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_type": "qwen2"}, "model_type qwen2"),
        ({"rope_scaling": {"factor": 2.0}}, "scaled rotary"),
        ({"attention_bias": True}, "biases"),
        ({"num_key_value_heads": 3}, "key heads"),
    ],
)
def test_a_model_that_cannot_be_computed_is_refused_by_name(tmp_path, change, words):
    (tmp_path / "config.json").write_text(json.dumps({**CONFIG, **change}))
    with pytest.raises(DataError, match=words):
        read_config(tmp_path)


def test_a_missing_or_broken_configuration_is_named(tmp_path):
    with pytest.raises(DataError, match=r"config\.json"):
        read_config(tmp_path)
    (tmp_path / "config.json").write_text('{"vocab_size": "many"}')
    with pytest.raises(DataError, match="not the configuration of a Llama"):
        read_config(tmp_path)


def test_a_tensor_of_the_wrong_shape_is_named():
    weights = random_weights(CONFIG)
    weights["model.layers.1.mlp.up_proj.weight"] = np.zeros((3, 3), np.float32)
    with pytest.raises(DataError, match=r"layers\.1\.mlp\.up_proj\.weight has shape \(3, 3\)"):
        Llama(LlamaConfig(**CONFIG), weights, positions=10)
    del weights["model.layers.1.mlp.up_proj.weight"]
    with pytest.raises(DataError, match=r"no tensor model\.layers\.1\.mlp"):
        Llama(LlamaConfig(**CONFIG), weights, positions=10)
