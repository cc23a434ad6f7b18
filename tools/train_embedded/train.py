"""Train the target and then the draft on one GPU, within a given number of seconds.

Usage: train.py --data DATA --out OUT [--target-seconds 300] [--draft-seconds 150] [--policy-batches 24]

The target learns next-token prediction. The draft learns from the target: 0.2 cross-entropy + 0.8 Kullback-Leibler
divergence to the target's distribution, on the same text and on text the target itself has written (at temperatures
0, 0.7 and 1), because that is what it will have to predict. OUT receives ``target/`` and ``draft/`` (Hugging Face
names, float16) and ``log.jsonl`` with the held-out loss of every kind of text.
"""

import argparse
import json
import math
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

BOS, EOS, PAD, ASSISTANT = 0, 1, 2, 5
VOCABULARY, HEAD = 2048, 64

# Share of each kind of text. The draft sees more code and structure: that is where drafters are used most.
TARGET_MIX = {
    "chat_coding": 0.24, "code": 0.15, "chat_math": 0.13, "chat_structured": 0.05,
    "chat_summarization": 0.06, "chat_rag": 0.04, "chat_stem": 0.06, "chat_qa": 0.06,
    "chat_humanities": 0.02, "chat_writing": 0.06, "chat_roleplay": 0.02, "chat_chat": 0.005,
    "manual": 0.045, "prose": 0.04, "reference": 0.015, "scripture": 0.005,
}  # fmt: skip
DRAFT_MIX = {
    "chat_coding": 0.32, "code": 0.20, "chat_math": 0.12, "chat_structured": 0.06,
    "chat_summarization": 0.06, "chat_rag": 0.04, "chat_stem": 0.05, "chat_qa": 0.04,
    "chat_humanities": 0.01, "chat_writing": 0.03, "chat_roleplay": 0.01, "chat_chat": 0.005,
    "manual": 0.03, "prose": 0.015, "reference": 0.01, "scripture": 0.005,
}  # fmt: skip
POLICY_SHARE = 0.45
SIZES = {
    "target": {"hidden": 192, "layers": 6, "heads": 3, "inner": 576},
    "draft": {"hidden": 96, "layers": 2, "heads": 2, "inner": 192},
}


# ---- model ---------------------------------------------------------------------------------------------------------


class Norm(nn.Module):
    """Root-mean-square norm."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last axis."""
        return F.rms_norm(x, (x.shape[-1],), self.weight, 1e-5)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Apply the rotary position embedding."""
    half = x.shape[-1] // 2
    return x * cos + torch.cat([-x[..., half:], x[..., :half]], -1) * sin


class Attention(nn.Module):
    """Causal attention with rotary positions."""

    def __init__(self, hidden: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(hidden, heads * HEAD, bias=False) for _ in range(3))
        self.o_proj = nn.Linear(heads * HEAD, hidden, bias=False)

    def split(self, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values as [batch, heads, length, HEAD]."""
        shape = (x.shape[0], x.shape[1], self.heads, HEAD)
        q, k, v = (p(x).view(shape).transpose(1, 2) for p in (self.q_proj, self.k_proj, self.v_proj))
        return rotate(q, cos, sin).type_as(v), rotate(k, cos, sin).type_as(v), v

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Mix the positions of a whole text."""
        q, k, v = self.split(x, cos, sin)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o_proj(mixed.transpose(1, 2).reshape(x.shape[0], x.shape[1], -1))


class Gated(nn.Module):
    """The feed-forward part."""

    def __init__(self, hidden: int, inner: int) -> None:
        super().__init__()
        self.gate_proj, self.up_proj = (nn.Linear(hidden, inner, bias=False) for _ in range(2))
        self.down_proj = nn.Linear(inner, hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Transform each position."""
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    """One transformer layer."""

    def __init__(self, hidden: int, heads: int, inner: int) -> None:
        super().__init__()
        self.self_attn, self.mlp = Attention(hidden, heads), Gated(hidden, inner)
        self.input_layernorm, self.post_attention_layernorm = Norm(hidden), Norm(hidden)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Attention, then feed-forward."""
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class Llama(nn.Module):
    """A Llama with tied embeddings and Hugging Face weight names."""

    def __init__(self, hidden: int, layers: int, heads: int, inner: int, context: int) -> None:
        super().__init__()
        self.shape = {"hidden": hidden, "layers": layers, "heads": heads, "inner": inner}
        self.context = context
        self.model = nn.Module()
        self.model.embed_tokens = nn.Embedding(VOCABULARY, hidden)
        self.model.layers = nn.ModuleList(Layer(hidden, heads, inner) for _ in range(layers))
        self.model.norm = Norm(hidden)
        for name, weight in self.named_parameters():
            if weight.ndim == 2:
                nn.init.normal_(weight, 0, 0.02 if "embed" in name else (0.5 / weight.shape[1]) ** 0.5)
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                nn.init.zeros_(weight)
        angles = torch.outer(torch.arange(context).float(), 1.0 / 10000.0 ** (torch.arange(0, HEAD, 2).float() / HEAD))
        angles = torch.cat([angles, angles], -1)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)
        self.fast: list = list(self.model.layers)

    def hidden_states(self, ids: Tensor, layers: Iterable) -> Tensor:
        """Run LAYERS (plain or compiled) and the last norm."""
        cos, sin = self.cos[: ids.shape[1]], self.sin[: ids.shape[1]]
        x = self.model.embed_tokens(ids)
        for layer in layers:
            x = layer(x, cos, sin)
        return self.model.norm(x)

    def forward(self, ids: Tensor) -> Tensor:
        """Return logits, without compiled code."""
        return F.linear(self.hidden_states(ids, self.model.layers), self.model.embed_tokens.weight)

    def config(self) -> dict:
        """The Hugging Face config."""
        s = self.shape
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": VOCABULARY,
            "hidden_size": s["hidden"],
            "intermediate_size": s["inner"],
            "num_hidden_layers": s["layers"],
            "num_attention_heads": s["heads"],
            "num_key_value_heads": s["heads"],
            "head_dim": HEAD,
            "hidden_act": "silu",
            "max_position_embeddings": self.context,
            "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "tie_word_embeddings": True,
            "attention_bias": False,
            "mlp_bias": False,
            "bos_token_id": BOS,
            "eos_token_id": EOS,
            "pad_token_id": PAD,
            "torch_dtype": "float16",
        }

    def load(self, folder: Path) -> None:
        """Read the weights that ``save`` wrote."""
        self.load_state_dict({name: weight.float() for name, weight in load_file(folder / "model.safetensors").items()})

    def save(self, folder: Path) -> None:
        """Write config.json and model.safetensors."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file(
            {k: v.detach().half().contiguous().cpu() for k, v in self.state_dict().items()},
            folder / "model.safetensors",
            {"format": "pt"},
        )
        (folder / "config.json").write_text(json.dumps(self.config(), indent=1) + "\n")


# ---- losses (compiled on a GPU) --------------------------------------------------------------------------------------


def plain_loss(states: Tensor, embedding: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy in nats per token."""
    return F.cross_entropy(F.linear(states, embedding).float().flatten(0, 1), labels.flatten())


def draft_loss(
    states: Tensor, embedding: Tensor, teacher_states: Tensor, teacher_embedding: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """Return (0.2 cross-entropy + 0.8 divergence, the divergence alone)."""
    student = F.log_softmax(F.linear(states, embedding).float(), -1)
    teacher = F.log_softmax(F.linear(teacher_states, teacher_embedding).float(), -1)
    divergence = (teacher.exp() * (teacher - student)).sum(-1).mean()
    entropy = -student.gather(-1, labels[..., None]).mean()
    return 0.2 * entropy + 0.8 * divergence, divergence


# ---- optimiser -------------------------------------------------------------------------------------------------------


class Muon:
    """Muon (method of Keller Jordan): momentum whose matrix is orthogonalised; equal shapes share a batch."""

    def __init__(self, weights: list[nn.Parameter], momentum: float = 0.95, decay: float = 0.05) -> None:
        self.momentum, self.decay = momentum, decay
        self.groups: dict[tuple[int, int], list[nn.Parameter]] = {}
        for weight in weights:
            self.groups.setdefault((weight.shape[0], weight.shape[1]), []).append(weight)
        self.buffers = {
            shape: torch.zeros(len(group), *shape, device=group[0].device) for shape, group in self.groups.items()
        }

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Update all weights and drop their gradients."""
        for shape, group in self.groups.items():
            gradient = torch.stack([weight.grad for weight in group])
            buffer = self.buffers[shape]
            buffer.lerp_(gradient, 1 - self.momentum)
            update = orthogonal(gradient.lerp(buffer, self.momentum)) * (rate * max(1.0, shape[0] / shape[1]) ** 0.5)
            torch._foreach_mul_(group, 1 - rate * self.decay)
            torch._foreach_sub_(group, list(update.unbind(0)))
            for weight in group:
                weight.grad = None


def orthogonal(x: Tensor) -> Tensor:
    """Push all singular values of a batch of matrices towards 1 with five Newton-Schulz steps."""
    tall = x.shape[1] > x.shape[2]
    y = x.mT if tall else x
    y = (y / (y.norm(dim=(1, 2), keepdim=True) + 1e-7)).to(torch.bfloat16 if x.is_cuda else torch.float32)
    for _ in range(5):
        gram = y @ y.mT
        y = 3.4445 * y + (-4.7750 * gram + 2.0315 * gram @ gram) @ y
    return (y.mT if tall else y).float()


def schedule(done: float, step: int) -> float:
    """Warm up for 100 steps, stay constant to 40% of the time, then go down linearly."""
    return min(1.0, (step + 1) / 100) * min(1.0, max(0.01, (1 - done) / 0.6))


# ---- data ------------------------------------------------------------------------------------------------------------


class Streams:
    """All token streams on the device, drawn from by share."""

    def __init__(self, arrays: dict[str, np.ndarray], mix: dict[str, float], device: str, seed: int) -> None:
        self.names = [name for name in mix if name in arrays]
        self.tokens = torch.from_numpy(np.concatenate([arrays[n] for n in self.names]).astype(np.int32)).to(device)
        sizes = [len(arrays[n]) for n in self.names]
        self.first = torch.tensor(np.cumsum([0, *sizes[:-1]]), device=device)
        self.size = torch.tensor(sizes, device=device)
        self.share = torch.tensor([mix[n] for n in self.names], device=device)
        starts = [np.flatnonzero(arrays[n] == BOS) for n in self.names]
        self.starts = torch.from_numpy(np.concatenate(starts)).to(device)
        self.first_start = torch.tensor(np.cumsum([0, *[len(s) for s in starts[:-1]]]), device=device)
        self.starts_size = torch.tensor([len(s) for s in starts], device=device)
        self.random = torch.Generator(device=device).manual_seed(seed)

    def batch(self, rows: int, length: int) -> Tensor:
        """Draw [rows, length + 1] tokens: half begin at a document's start, half anywhere, after ``<|bos|>``."""
        device = self.tokens.device
        kind = torch.multinomial(self.share, rows, replacement=True, generator=self.random)
        draw = torch.rand(2, rows, generator=self.random, device=device, dtype=torch.float64)
        room = self.size[kind] - length - 1
        anywhere = (draw[0] * room).long()
        document = self.starts[self.first_start[kind] + (draw[0] * self.starts_size[kind]).long()]
        at_start = draw[1] < 0.5
        begin = torch.where(at_start, torch.minimum(document, room), anywhere)
        index = (self.first[kind] + begin)[:, None] + torch.arange(length + 1, device=device)
        ids = self.tokens[index].long()
        ids[:, 0] = BOS
        return ids


def held_losses(
    model: Llama, held: dict[str, np.ndarray], device: str, length: int, teacher: Llama | None = None
) -> dict[str, float]:
    """Mean held-out loss in nats per token of every kind; with TEACHER also the divergence from it as ``kl/<kind>``."""
    found = {}
    for kind, stream in held.items():
        size = min(length, len(stream) - 1)
        rows = max(1, min(8, (len(stream) - 1) // size))
        begin = np.linspace(0, len(stream) - size - 1, rows).astype(int)
        ids = torch.from_numpy(np.stack([stream[i : i + size + 1] for i in begin]).astype(np.int64)).to(device)
        with torch.no_grad(), autocast(device):
            logits = model(ids[:, :-1]).float()
            found[kind] = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()).item()
            if teacher is not None:
                goal = F.log_softmax(teacher(ids[:, :-1]).float(), -1)
                found["kl/" + kind] = (goal.exp() * (goal - F.log_softmax(logits, -1))).sum(-1).mean().item()
    return {kind: round(value, 4) for kind, value in found.items()}


def autocast(device: str) -> torch.autocast:
    """Compute in bfloat16 on a GPU, in float32 elsewhere."""
    return torch.autocast(device, dtype=torch.bfloat16, enabled=device == "cuda")


# ---- text written by the target --------------------------------------------------------------------------------------


def prompts_of(
    arrays: dict[str, np.ndarray], mix: dict[str, float], count: int, longest: int, seed: int
) -> list[np.ndarray]:
    """Cut prompts out of the training text: chats up to an ``<|assistant|>``, other text at 128 tokens."""
    random = np.random.default_rng(seed)
    names = [name for name in mix if name in arrays]
    share = np.array([mix[name] for name in names])
    prompts = []
    for name, wanted in zip(names, random.multinomial(count, share / share.sum()), strict=True):
        stream = arrays[name]
        if name.startswith("chat_"):
            starts, ends = np.flatnonzero(stream == BOS), np.flatnonzero(stream == ASSISTANT)
            picked = random.choice(ends, wanted)
            begins = starts[np.searchsorted(starts, picked, side="right") - 1]
            prompts += [stream[b : e + 1] for b, e in zip(begins, picked, strict=True) if e - b < longest]
        else:
            begins = random.integers(0, len(stream) - 128, wanted)
            prompts += [np.concatenate([[BOS], stream[b : b + 127]]) for b in begins]
    prompts.sort(key=len)
    return prompts


@torch.no_grad()
def write(
    model: Llama, prompts: list[np.ndarray], new: int, temperature: float, device: str, random: torch.Generator
) -> np.ndarray:
    """Let the model continue all PROMPTS by at most NEW tokens; return prompts and texts as one stream."""
    rows, width = len(prompts), max(map(len, prompts))
    total = width + new
    ids = torch.full((rows, total), PAD, dtype=torch.long)
    begin = torch.tensor([width - len(p) for p in prompts])
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) : width] = torch.from_numpy(prompt.astype(np.int64))
    ids, begin = ids.to(device), begin.to(device)
    hidden = torch.arange(total, device=device)[None, :] < begin[:, None]
    heads, kind = model.shape["heads"], torch.bfloat16 if device == "cuda" else torch.float32
    keys = [torch.zeros(rows, heads, total, HEAD, device=device, dtype=kind) for _ in model.model.layers]
    values = [torch.zeros_like(k) for k in keys]
    running = torch.ones(rows, dtype=torch.bool, device=device)
    done = 0
    with autocast(device):
        while done < total - 1:
            upto = width if done == 0 else done + 1
            x = model.model.embed_tokens(ids[:, done:upto])
            cos, sin = model.cos[done:upto], model.sin[done:upto]
            mask = torch.zeros(rows, 1, upto - done, upto, device=device, dtype=kind)
            mask.masked_fill_(hidden[:, None, None, :upto], -1e4)
            if upto - done > 1:
                mask += torch.full((upto, upto), -1e4, device=device, dtype=kind).triu(1)
            for layer, ks, vs in zip(model.model.layers, keys, values, strict=True):
                q, k, v = layer.self_attn.split(layer.input_layernorm(x), cos, sin)
                ks[:, :, done:upto], vs[:, :, done:upto] = k, v
                mixed = F.scaled_dot_product_attention(q.to(kind), ks[:, :, :upto], vs[:, :, :upto], attn_mask=mask)
                x = x + layer.self_attn.o_proj(mixed.transpose(1, 2).reshape(rows, upto - done, -1))
                x = x + layer.mlp(layer.post_attention_layernorm(x))
            logits = F.linear(model.model.norm(x[:, -1]), model.model.embed_tokens.weight).float()
            if temperature > 0:
                noise = torch.empty_like(logits).exponential_(generator=random)
                choice = (F.softmax(logits / temperature, -1) / noise).argmax(-1)
            else:
                choice = logits.argmax(-1)
            ids[:, upto] = torch.where(running, choice, PAD)
            running &= choice != EOS
            done = upto
            if done % 32 == 0 and not running.any():
                break
    flat = ids.cpu().numpy().astype(np.uint16)
    return flat[flat != PAD]


# ---- training --------------------------------------------------------------------------------------------------------


def fit(
    model: Llama,
    streams: Streams,
    held: dict,
    seconds: float,
    options: argparse.Namespace,
    note,
    teacher: Llama | None = None,
    done: float = 0.0,
) -> None:
    """Train MODEL for SECONDS; with TEACHER by distillation; DONE is the part of the schedule that lies behind."""
    device = options.device
    matrices = [w for name, w in model.named_parameters() if w.ndim == 2 and "embed" not in name]
    others = [w for name, w in model.named_parameters() if w.ndim != 2 or "embed" in name]
    muon = Muon(matrices)
    adam = torch.optim.AdamW(others, lr=options.adam_rate, betas=(0.9, 0.95), weight_decay=0.0, fused=device == "cuda")
    simple, distilled = plain_loss, draft_loss
    if options.compile:
        model.fast = [torch.compile(layer, dynamic=False) for layer in model.model.layers]
        simple, distilled = torch.compile(plain_loss, dynamic=False), torch.compile(draft_loss, dynamic=False)
    name = "draft" if teacher else "target"
    start, step, running, next_note = time.time(), 0, None, seconds / 6
    while (spent := time.time() - start) < seconds:
        rate = schedule(done + (1 - done) * spent / seconds, step)
        ids = streams.batch(options.rows, options.length)
        inputs, labels = ids[:, :-1], ids[:, 1:]
        with autocast(device):
            states = model.hidden_states(inputs, model.fast)
            if teacher is None:
                loss = shown = simple(states, model.model.embed_tokens.weight, labels)
            else:
                with torch.no_grad():
                    teacher_states = teacher.hidden_states(inputs, teacher.fast)
                loss, shown = distilled(
                    states, model.model.embed_tokens.weight, teacher_states, teacher.model.embed_tokens.weight, labels
                )
        loss.backward()
        muon.step(options.muon_rate * rate)
        adam.param_groups[0]["lr"] = options.adam_rate * rate
        adam.step()
        adam.zero_grad(set_to_none=True)
        step += 1
        shown = shown.detach()
        running = shown.clone() if running is None else running.lerp_(shown, 0.02)
        if step % 20 == 0:
            value = running.item()  # also keeps the host from running far ahead of the device
            if step % 500 == 0 or step == 20:
                note(
                    phase=name,
                    step=step,
                    tokens=step * ids[:, 1:].numel(),
                    seconds=round(time.time() - start, 1),
                    loss=round(value, 4),
                )
            if not math.isfinite(value):
                raise SystemExit(f"{name}: the loss is no longer a number at step {step}")
        if spent > next_note:
            next_note += seconds / 6
            note(phase=name, step=step, held=held_losses(model, held, device, options.length, teacher))
            model.save(Path(options.out) / name)
    final = held_losses(model, held, device, options.length, teacher)
    note(
        phase=name,
        step=step,
        tokens=step * options.rows * options.length,
        seconds=round(time.time() - start, 1),
        final=final,
    )


def main() -> None:
    """Train both models."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--target-seconds", type=float, default=300, help="0: take OUT/target as it is")
    parser.add_argument("--draft-seconds", type=float, default=150)
    parser.add_argument(
        "--draft-done", type=float, default=0, help="go on with OUT/draft at this part (0-1) of its schedule"
    )
    parser.add_argument("--policy-batches", type=int, default=24)
    parser.add_argument("--policy-seconds", type=float, default=60, help="write no more text after this time")
    parser.add_argument("--policy-rows", type=int, default=4096)
    parser.add_argument("--policy-new", type=int, default=320)
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--length", type=int, default=2048, help="tokens of a training row")
    parser.add_argument("--context", type=int, default=2048, help="longest text, written into the configs")
    parser.add_argument("--muon-rate", type=float, default=0.02)
    parser.add_argument("--adam-rate", type=float, default=3e-3)
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=torch.cuda.is_available())
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    options.device = device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(options.seed)
    torch.set_float32_matmul_precision("high")
    if options.compile:
        try:
            torch.compile(lambda x: x * 2 + 1)(torch.ones(8, device=device))
        except Exception as error:
            print("torch.compile does not work here, going on without it:", error)
            options.compile = False
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    start = time.time()

    def note(**entry: object) -> None:
        entry["at"] = round(time.time() - start, 1)
        with open(out / "log.jsonl", "a") as stream:
            stream.write(json.dumps(entry) + "\n")
        print(json.dumps(entry), flush=True)

    arrays = dict(np.load(Path(options.data) / "train.npz"))
    held = dict(np.load(Path(options.data) / "held.npz"))
    note(
        phase="start",
        torch=torch.__version__,
        device=torch.cuda.get_device_name() if device == "cuda" else "cpu",
        tokens=sum(map(len, arrays.values())),
    )

    target = Llama(**SIZES["target"], context=options.context).to(device)
    note(parameters=sum(p.numel() for p in target.parameters()))
    if options.target_seconds > 0:
        fit(target, Streams(arrays, TARGET_MIX, device, options.seed), held, options.target_seconds, options, note)
        target.save(out / "target")
    else:
        target.load(out / "target")
    target.requires_grad_(False)

    random = torch.Generator(device=device).manual_seed(options.seed + 1)
    longest = min(512, options.context - options.policy_new - 1)
    prompts = prompts_of(arrays, DRAFT_MIX, options.policy_batches * options.policy_rows, longest, options.seed)
    groups = [prompts[i : i + options.policy_rows] for i in range(0, len(prompts), options.policy_rows)]
    groups = [groups[i] for i in np.random.default_rng(options.seed).permutation(len(groups))]
    texts: dict[float, list[np.ndarray]] = {}
    begin = time.time()
    for index, group in enumerate(groups):
        if index >= 5 and time.time() - begin > options.policy_seconds:
            break
        temperature = (0.0, 1.0, 0.0, 0.7, 1.0)[index % 5]
        texts.setdefault(temperature, []).append(write(target, group, options.policy_new, temperature, device, random))
    mix = {kind: share * (1 - POLICY_SHARE) for kind, share in DRAFT_MIX.items()}
    for temperature, pieces in texts.items():
        arrays[f"policy_{temperature}"] = np.concatenate(pieces)
        mix[f"policy_{temperature}"] = POLICY_SHARE / len(texts)
        note(phase="policy", temperature=temperature, tokens=len(arrays[f"policy_{temperature}"]))

    draft = Llama(**SIZES["draft"], context=options.context).to(device)
    note(parameters=sum(p.numel() for p in draft.parameters()))
    if options.draft_done > 0:
        draft.load(out / "draft")
    fit(
        draft,
        Streams(arrays, mix, device, options.seed + 2),
        held,
        options.draft_seconds,
        options,
        note,
        target,
        options.draft_done,
    )
    draft.save(out / "draft")
    note(phase="end")


if __name__ == "__main__":
    main()
