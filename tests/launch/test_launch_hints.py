"""What an engine's log says about why it did not start."""

import pytest

from nemo_skills_specdec.launch.hints import hint


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 GiB.", "out of memory"),
        ("ValueError: No available memory for the cache blocks. Try increasing it.", "out of memory"),
        ("RuntimeError: Not enough memory. Please try to increase --mem-fraction-static.", "out of memory"),
        (
            "ValueError: The model's max seq len (131072) is larger than the maximum number of tokens that can be "
            "stored in KV cache (55728).",
            "lower max_model_len",
        ),
        ("OSError: [Errno 98] Address already in use", "leave out port"),
        ("huggingface_hub.errors.GatedRepoError: 403 Client Error.", "accept its licence"),
        ("OSError: You are trying to access a gated repo.", "accept its licence"),
        ("requests.exceptions.HTTPError: 401 Client Error: Unauthorized for url", "valid HF_TOKEN"),
        ("huggingface_hub.errors.LocalEntryNotFoundError: outgoing traffic has been disabled", "fetch it first"),
        (
            "huggingface_hub.errors.HFValidationError: Repo id must be in the form 'repo_name' or 'namespace/repo'",
            "model was not found",
        ),
        ("main.py: error: unrecognized arguments: --no-such-flag 3", "--no-such-flag 3"),
        ("launch_server.py: error: argument --dtype: invalid choice: 'x'", "argument: --dtype: invalid choice"),
        ("World size (8) is larger than the number of available GPUs (1) in this node", "fewer GPUs"),
        ("RuntimeError: No CUDA GPUs are available", "found no GPU"),
        ("RuntimeError: Failed to infer device type", "found no GPU"),
        ("ModuleNotFoundError: No module named 'flashinfer'", "lacks the module flashinfer"),
        ("ValueError: MTP requires positive speculative_num_steps.", "shape of the drafts"),
        ("ImportError: Arctic Inference is required; pip install arctic-inference==0.1.1", "arctic-inference"),
    ],
)
def test_a_known_cause_is_named_with_its_cure(line, said):
    log = f"INFO loading\n{line}\nINFO shutting down\n"
    assert said in (hint(log) or "")


def test_an_unknown_cause_gets_no_invented_hint():
    assert hint("INFO everything is fine\nSegmentation fault\n") is None


def test_running_out_of_memory_goes_before_what_is_printed_in_its_wake():
    log = "torch.OutOfMemoryError: CUDA out of memory\nModuleNotFoundError: No module named 'x'\n"
    assert "out of memory" in (hint(log) or "")


def test_the_settings_that_a_log_begins_with_are_no_cause():
    log = """[2026-11-23 02:18:40] server_args={'model_path': 'm', 'speculative_num_steps': None, 'log_requests': False}
  File "sglang/kernels/ops/gemm/cutedsl_dual_gemm.py", line 36, in <module>
    import cutlass
ModuleNotFoundError: No module named 'cutlass'
"""
    assert hint(log) == "its environment lacks the module cutlass"
