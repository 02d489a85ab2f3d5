"""Changes of the code under which tests must go red: each method broken once on purpose, and the ways in and out."""

from typing import NamedTuple


class Breakage(NamedTuple):
    """One change of one file, and the tests that notice."""

    file: str  # below autodelta/
    what: str
    old: str
    new: str
    tests: str  # below tests/deltas/, as pytest takes it


CONFORMANCE = "test_conformance.py::test_method -k"

BREAKAGES = (
    Breakage(
        "deltas/adapter/delta.py",
        "adapters forget their scale",
        "scale=config.scale",
        "scale=1.0",
        "test_adapters_oracle.py::test_bottlenecks",
    ),
    Breakage(
        "deltas/bottleneck.py",
        "a parallel adapter reads the sublayer's output",
        'x if self.placement == "parallel"',
        'y if self.placement == "parallel"',
        "test_adapters_oracle.py::test_bottlenecks",
    ),
    Breakage(
        "deltas/bottleneck.py",
        "a fresh adapter is not the identity",
        "self.down, self.up = down, zeros(d_model, bottleneck)",
        "self.down, self.up = down, nn.Parameter(down.detach().T.clone())",
        f"{CONFORMANCE} 'identity and adapter'",
    ),
    Breakage(
        "deltas/bitfit/delta.py",
        "a bias is multiplied, not added",
        "return y + self.bias",
        "return y * (1 + self.bias)",
        "test_merge.py -k bitfit",
    ),
    Breakage(
        "deltas/compacter/delta.py",
        "Kronecker products the other way round",
        "npq,nkl->pkql",
        "npq,nkl->kplq",
        "test_adapters_oracle.py::test_bottlenecks",
    ),
    Breakage(
        "deltas/compacter/delta.py",
        "the shared factors are nobody's parameters",
        "DeltaModule(slots, rule)",
        "DeltaModule(slots)",
        f"{CONFORMANCE} 'count and compacter'",
    ),
    Breakage(
        "shape.py",
        "tied embeddings count as three weights",
        'shared = site.part == "tokens" or (site.part == "lm_head" and self.tied)',
        "shared = False",
        "test_attached.py::test_tied_embeddings_train_one_difference",
    ),
    Breakage(
        "deltas/difference.py",
        "a difference is transposed",
        "changed + first.difference()",
        "changed + (d.T if (d := first.difference()).shape[0] == d.shape[1] else d)",
        "test_merge.py -k 'full and original'",
    ),
    Breakage(
        "deltas/difference.py",
        "a difference behind another method is forgotten",
        "return y + linear(x, self.difference().to(x.dtype))",
        "return y",
        "test_attached.py::test_a_difference_counts_behind_another_method",
    ),
    Breakage(
        "deltas/difference.py",
        "a norm's difference scales the sum of squares",
        ".mean(-1, keepdim=True)",
        ".sum(-1, keepdim=True)",
        "test_peft_oracle.py::test_norm",
    ),
    Breakage(
        "deltas/ia3/spec.py",
        "the feed-forward network's output is rescaled, not its inner activations",
        'return 1 if site.part == "ffn.out" else 0',
        "return 0",
        "test_peft_oracle.py::test_ia3",
    ),
    Breakage(
        "deltas/lora/delta.py",
        "LoRA forgets its scale",
        "* self.scaling, b.to",
        ", b.to",
        "test_peft_oracle.py::test_lora",
    ),
    Breakage(
        "deltas/lora/spec.py",
        "rsLoRA scales as LoRA",
        "(self.rank**0.5 if self.rslora else self.rank)",
        "self.rank",
        "test_peft_oracle.py::test_lora -k rslora",
    ),
    Breakage(
        "deltas/lora/delta.py",
        "DoRA normalises by the frozen weight alone",
        "_row_norms(weight + self.scaling * self.b @ self.a)",
        "_row_norms(weight + 0 * self.b @ self.a)",
        "test_peft_oracle.py::test_lora -k dora",
    ),
    Breakage(
        "deltas/lora/delta.py",
        "DoRA's norm lets gradients through",
        "with torch.no_grad():",
        "with torch.enable_grad():",
        "test_peft_oracle.py::test_lora -k dora",
    ),
    Breakage(
        "deltas/norm/delta.py",
        "norm tuning starts elsewhere",
        "zeros(*frozen_weight(p).shape)",
        "(lambda new: (new.data.add_(0.1), new)[1])(zeros(*frozen_weight(p).shape))",
        f"{CONFORMANCE} 'identity and norm'",
    ),
    Breakage(
        "deltas/prefix/delta.py",
        "keys and values are swapped",
        "torch.cat((own[0], keys), dim=2)",
        "torch.cat((own[1], keys), dim=2)",
        "test_adapters_oracle.py::test_prefixes_at_encoder_decoder_and_cross_attention",
    ),
    Breakage(
        "deltas/base.py",
        "the mask hides the prefix",
        "seen = True if mask.dtype",
        "seen = False if mask.dtype",
        "test_adapters_oracle.py -k prefixes",
    ),
    Breakage(
        "deltas/attention.py",
        "a prefix pushes the position biases off the tokens",
        "functional.pad(bias, (more, 0))",
        "functional.pad(bias, (0, more))",
        "test_methods.py::test_a_prefix_has_no_position_and_tokens_keep_theirs",
    ),
    Breakage(
        "deltas/attention.py",
        "past a prefix, tokens of the decoder do not see those just before them",
        '"allow_is_causal_skip": False',
        '"allow_is_causal_skip": True',
        f"{CONFORMANCE} 'cached and prefix'",
    ),
    Breakage(
        "deltas/attention.py",
        "the attention function has no mask function, and so no mask",
        'AttentionMaskInterface.register(_PREFIX + "sdpa", _sdpa_mask)',
        "del _sdpa_mask",
        f"{CONFORMANCE} 'padding and prefix'",
    ),
    Breakage(
        "deltas/attention.py",
        "our attention function stays after detaching",
        "stack.config._attn_implementation = before",
        "del before",
        f"{CONFORMANCE} 'detaching and prefix'",
    ),
    Breakage(
        "deltas/prompt/delta.py",
        "the prompt stands behind the tokens",
        "torch.cat((prompt, embeddings), dim=1)",
        "torch.cat((embeddings, prompt), dim=1)",
        "test_peft_oracle.py::test_prompt",
    ),
    Breakage(
        "deltas/attached.py",
        "the decoder's attention to the encoder does not see the prompt",
        "(length - mask.shape[-1], 0), value=1)",
        "(length - mask.shape[-1], 0), value=0)",
        "test_peft_oracle.py::test_prompt",
    ),
    Breakage(
        "deltas/attached.py",
        "the prompt is put in front again at every cached step",
        "    if past:",
        "    if past and not embeddings:",
        f"{CONFORMANCE} 'cached and prompt'",
    ),
    Breakage(
        "deltas/attached.py",
        "logits of the decoder's prompt are not stripped",
        "    if not positions:",
        "    if positions:",
        f"{CONFORMANCE} 'gradients and prompt'",
    ),
    Breakage(
        "deltas/attached.py",
        "the backbone is not frozen",
        "    undo.append(_freeze(hf_model))\n",
        "",
        f"{CONFORMANCE} 'gradients and lora'",
    ),
    Breakage(
        "deltas/attached.py",
        "a hook stays after detaching",
        "return module.register_forward_hook(hook).remove",
        "return (module.register_forward_hook(hook), lambda: None)[1]",
        f"{CONFORMANCE} 'detaching and lora'",
    ),
    Breakage(
        "deltas/base.py",
        "all sites start at the same weights",
        "{self.seed}/{self.method}/{site}",
        "{self.seed}",
        "test_attached.py::test_two_sites_draw_different_weights",
    ),
    Breakage(
        "deltas/base.py",
        "projections are not drawn again after loading",
        "module.redraw()",
        "pass",
        f"{CONFORMANCE} 'load_exactly and vera'",
    ),
    Breakage(
        "deltas/vera/delta.py",
        "the outer scale is forgotten",
        "b.to(x.dtype)) * self.b",
        "b.to(x.dtype))",
        "test_peft_oracle.py::test_vera",
    ),
    Breakage(
        "deltas/subspace/delta.py",
        "the permutation is forgotten",
        "[:, self.order]",
        "",
        "test_methods.py::test_a_subspace_projection_is_fastfood",
    ),
    Breakage(
        "deltas/selective/delta.py",
        "the trial's seed chooses",
        "Draw(config.choice, draw.method)",
        "draw",
        "test_methods.py::test_a_selection_depends_on_its_choice_and_not_on_the_trial",
    ),
    Breakage(
        "deltas/selective/spec.py",
        "what rounding leaves of a budget is lost",
        "counts = {owner: share + (owner in favoured)",
        "counts = {owner: share",
        "test_methods.py::test_a_selection_of_elements_meets_its_budget_exactly",
    ),
    Breakage(
        "deltas/merge.py",
        "merging unties what was tied",
        "if torch.equal(tensor, now.weight)",
        "if tensor is now.weight",
        "test_merge.py::test_a_merged_checkpoint_loads_as_a_plain_t5",
    ),
    Breakage(
        "deltas/peft_format.py",
        "every LoRA is written with the first one's alpha",
        "alpha_pattern={path: config.alpha for path, config in configs.items() if config.alpha != first.alpha}",
        "alpha_pattern={}",
        "test_peft_format.py::test_peft_loads_what_we_write_and_we_load_it_again",
    ),
)
