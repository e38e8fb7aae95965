"""What to know about the papers' numbers, in plain sentences, each with tests that demonstrate it."""

from typing import NamedTuple


class Note(NamedTuple):
    """tests: (file, function) of the tests that show what the text says."""

    title: str
    text: str
    tests: list


INTRODUCTION = """\
Published sizes and costs are what a counter printed, and counters differ. Here every published figure stands beside
ours: what was published, what is really in use, and whose count the published figure is, computed from its digits."""

NOTES = [
    Note(
        "thop does not see everything",
        "The papers count with thop, which looks at modules that are called. It misses parameters that no module "
        "holds, einsum, and the selective scan itself: of PoseMamba-S it sees 0.86 M of 1.47 M parameters and a third "
        "of the MACs.",
        [
            ("tests/bench/measure/test_cost.py", "test_posemamba_costs_what_was_published"),
            ("tests/models/test_pose3dm.py", "test_what_thop_does_not_see"),
        ],
    ),
    Note(
        "thop sees even less of other code",
        "Weights that are passed to functions are invisible too: all of MDTF's Mamba mixers but their graph "
        "convolutions, and the attention of PyTorch's Transformer layers, half of that model. So thop's figures of two "
        "models compare only if both are written in the same way.",
        [
            ("tests/models/test_mdtf.py", "test_costs_of_stage_2"),
            ("tests/models/test_mdtf.py", "test_contractions_of_a_mixer_are_counted"),
            ("tests/bench/report/test_ledger.py", "test_thop_misses_the_attention_of_the_transformer"),
        ],
    ),
    Note(
        "MDTF's published MACs are nobody's count",
        "12.8 M and 58.7 M per frame lie between what thop says and what the contractions alone come to, and no "
        "counter tried gives them. Its published parameters are true counts, of both stages together.",
        [
            ("tests/bench/report/test_ledger.py", "test_the_macs_of_mdtf_are_reproduced_by_no_counter"),
            ("tests/models/test_mdtf.py", "test_the_published_parameters_are_those_of_both_stages"),
        ],
    ),
    Note(
        "Most of a Pose3DM checkpoint never runs",
        "Every pose block builds five spatial and five temporal blocks and a head, and runs the first of each kind "
        "and no head. An L checkpoint has 46.5 M parameters, and 10.0 M of them are in use; the paper's 7.43 M are "
        "what thop sees of those. For the same reason its stochastic depth never acts.",
        [
            ("tests/models/test_pose3dm.py", "test_official_layout_runs_its_first_blocks_only"),
            ("tests/models/test_pose3dm.py", "test_costs_of_both_layouts"),
            ("tests/models/test_pose3dm.py", "test_everything_built_is_used"),
        ],
    ),
    Note(
        "Pose3DM's regulariser is not in its code",
        "The paper adds a fractional-order total variation to the losses; the published code has none. Ours can be "
        "switched on in a recipe; which order and weight belong to the published errors is not known.",
        [
            ("tests/models/test_pose3dm.py", "test_fractional_total_variation_by_hand"),
            ("tests/baselines/training/test_loop.py", "test_total_variation_is_added_to_the_loss_and_logged"),
        ],
    ),
    Note(
        "MDTF's published code stops",
        "Its second stage calls the graph convolution of the reversed stream, whose modules are commented out. With "
        "them it runs, and the published parameters of Large are met; without them they are not.",
        [("tests/bench/report/test_ledger.py", "test_mdtf_needs_the_modules_that_are_commented_out")],
    ),
    Note(
        "PoseMamba's published backward is incomplete",
        "The gradient through the limb-ordered part of its scan is dropped, which changes the gradient of a random "
        "model by a fifth. Published errors were trained that way; both gradients are available here. For PoseMamba-L "
        "users report 39.3 mm instead of 38.1 mm, while S and B reproduce.",
        [("tests/models/test_models.py", "test_published_gradient_differs_from_the_exact_one_by_a_fifth")],
    ),
    Note(
        "The published Transformer attends across the batch",
        "Its encoder takes the clips of a batch for the frames of a sequence, so a prediction changes with the clips "
        "that happen to share its batch; in a clip alone, no frame sees another.",
        [
            ("tests/models/test_models.py", "test_published_transformer_attends_across_the_clips_of_a_batch"),
            ("tests/bench/measure/test_cost.py", "test_the_transformer_costs_its_projections_and_its_attention"),
        ],
    ),
    Note(
        "The epoch is chosen on the test subjects",
        "Published errors are those of the epoch that was best on the test subjects, and that choice can only lower "
        "the error. Here the last epoch counts unless `--best` asks for the other, and every record says which.",
        [("tests/bench/report/test_ledger.py", "test_the_best_epoch_is_chosen_on_the_test_subjects")],
    ),
    Note(
        "Some frames are never evaluated",
        "Test clips follow each other without overlap, and what remains behind the last full clip of a take is left "
        "out: at 243 frames about 25,500 of 566,920. Every evaluation here also reports the error over all frames.",
        [
            ("tests/bench/report/test_ledger.py", "test_frames_behind_the_last_full_clip_are_not_evaluated"),
            ("tests/baselines/data/test_motionbert.py", "test_every_frame_clips_cover_every_frame"),
        ],
    ),
    Note(
        "Errors are of two passes, MACs of one",
        "Published errors average a clip and its mirror image, which runs the model twice; published MACs count one "
        "run.",
        [("tests/bench/report/test_ledger.py", "test_a_published_error_takes_two_passes")],
    ),
    Note(
        "The absolute size is given",
        "Predictions are scaled by a factor per frame that comes from the ground truth, in every method of this "
        "protocol: no model has to tell how large or how far away a person is. With true 2D as input, two of the "
        "three coordinates of the answer are in the input.",
        [
            ("tests/bench/report/test_ledger.py", "test_the_ground_truth_gives_the_scale"),
            ("tests/baselines/data/test_motionbert.py", "test_ground_truth_input_is_the_target_with_confidence_one"),
        ],
    ),
    Note(
        "Means differ",
        "Both protocols of Human3.6M average each action first; that of the SH detections leaves out three takes with "
        "shifted labels and what remains behind the last full clip, that of the CPN detections leaves nothing out. The "
        "LSTM/Transformer repository prints the mean over all frames. Errors of different rules do not compare.",
        [("tests/baselines/evaluation/test_metrics.py", "test_variants_by_hand")],
    ),
]
