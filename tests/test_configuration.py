"""The command line: what composes, and mistakes told in one line with what is allowed."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

import forkserver
import pytest
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from pixelcnn_lit import configuration
from pixelcnn_lit.configuration import CONF_DIR, build, check, compose_config
from pixelcnn_lit.messages import OptionError
from pixelcnn_lit.models.tables import TABLES, all_options
from pixelcnn_lit.training.options import RunOptions

CPU = ["trainer=cpu", "run_dir=somewhere"]


def choices(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF_DIR / group).glob("*.yaml"))


def refusal(*overrides: str) -> str:
    """The message with which the command line is refused, which must be one line."""
    with pytest.raises(OptionError) as caught:
        check(compose_config("train", [*CPU, *overrides]), RunOptions)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("size", ["small", "paper"])
@pytest.mark.parametrize("model", choices("model"))
def test_every_model_composes_at_every_size(model: str, size: str) -> None:
    check(compose_config("train", [*CPU, f"model={model}", f"size={size}"]), RunOptions)


@pytest.mark.parametrize("data", choices("data"))
def test_every_data_set_composes(data: str) -> None:
    required = {
        "path": ".",
        "channels": 1,
        "num_levels": 2,
        "image_size": "[4,4]",
        "num_classes": 2,
    }
    keys = OmegaConf.load(CONF_DIR / "data" / f"{data}.yaml")
    missing = [name for name in required if OmegaConf.is_missing(keys, name)]
    given = [f"data.{name}={required[name]}" for name in missing]
    check(compose_config("train", [*CPU, f"data={data}", *given]), RunOptions)


@pytest.mark.parametrize("trainer", choices("trainer"))
def test_every_trainer_composes(trainer: str) -> None:
    check(compose_config("train", [f"trainer={trainer}", "run_dir=somewhere"]), RunOptions)


@pytest.mark.parametrize("debug", choices("debug"))
def test_every_debug_choice_composes(debug: str) -> None:
    check(compose_config("train", [*CPU, f"debug={debug}"]), RunOptions)


@pytest.mark.parametrize("model", choices("model"))
def test_a_model_file_has_every_argument_of_the_constructor_and_no_other(model: str) -> None:
    config = compose_config("train", [*CPU, f"model={model}"])
    arguments = set(inspect.signature(get_object(config.model["_target_"])).parameters)
    assert set(config.model) - {"_target_"} == arguments


@pytest.mark.parametrize("model", choices("model"))
def test_the_papers_size_is_the_constructors_default(model: str) -> None:
    config = compose_config("train", [*CPU, f"model={model}", "size=paper"])
    about_data = {"channels", "num_levels", "image_size", "num_classes", "embedding_dim"}
    for name, parameter in inspect.signature(
        get_object(config.model["_target_"])
    ).parameters.items():
        if name in about_data | {"optimizer", "scheduler"}:
            continue
        value = OmegaConf.to_container(config.model)[name]
        default = parameter.default
        if name in TABLES:
            default = all_options(name, {"name": value["name"]})
        assert value == (list(default) if isinstance(default, tuple) else default), name


def test_a_misspelt_option_is_refused_with_the_one_that_was_meant() -> None:
    message = refusal("model.network.num_resnets=3")
    assert message.startswith(
        "model.network.num_resnets=3: no such option; did you mean num_resnet?"
    )


def test_an_added_option_that_the_constructor_does_not_take_is_refused() -> None:
    assert "+model" not in (message := refusal("+model.network.num_resnets=3"))
    assert message.startswith(
        "model.network.num_resnets=3: no such option; did you mean num_resnet?"
    )


def test_an_option_that_has_moved_is_refused_with_its_place() -> None:
    assert "did you mean model.optimizer.lr?" in refusal("model.lr=0.1")
    assert "did you mean model.network.num_resnet?" in refusal("model.num_resnet=3")
    assert "did you mean model.optimizer.betas?" in refusal("model.beta=[0.9,0.99]")


def test_no_refusal_ends_in_an_empty_list() -> None:
    message = refusal("debug=fast", "logger.wandb.project=mine")
    assert message.startswith("logger.wandb.project=mine: logger=none has no options")
    assert message.endswith("logger may also be tensorboard, wandb")


def test_an_interpolation_that_leads_nowhere_is_refused_with_its_option() -> None:
    assert refusal("model.network.num_filters=${nothing}").startswith("model.network.num_filters: ")


def test_an_option_of_a_group_that_is_not_chosen_names_the_choices() -> None:
    with pytest.raises(ValueError, match=r"data is null here; choose data=causal_field\|cifar10"):
        compose_config("evaluate", ["checkpoint=x", "data.batch_size=100"])


def test_an_option_that_is_only_not_set_so_far_is_told_apart_from_a_misspelt_one() -> None:
    message = refusal("model.optimizer.weight_decay=0.1")
    assert message.endswith("not set so far; to set it, write +model.optimizer.weight_decay=0.1")


@pytest.mark.parametrize(
    "group", ["data", "model", "trainer", "callbacks", "logger", "debug", "experiment"]
)
@pytest.mark.parametrize("value", ["null", "false", "5"])
def test_what_is_no_word_is_no_choice(group: str, value: str) -> None:
    message = refusal("seed=1", f"{group}={value}")
    assert message == f"{group}={value}: {group} may be {', '.join(choices(group))}, or be left out"


def test_a_misspelt_group_is_refused_with_the_one_that_was_meant() -> None:
    assert refusal("modle=pp").startswith("modle=pp: no such option; did you mean model?")


def test_an_unknown_choice_is_refused_with_all_choices() -> None:
    message = refusal("model=pixelcnnn")
    assert message.startswith("model=pixelcnnn: no such choice; did you mean pixelcnn?")
    assert all(choice in message for choice in choices("model"))


@pytest.mark.parametrize(
    ("override", "allowed"),
    [
        ("model.network.num_filters=many", "an integer"),
        ("model.network.num_filters=2.5", "an integer"),
        ("model.network.num_filters=true", "an integer"),
        ("model.network.dropout=high", "a number"),
        ("model.network.num_filters=null", "an integer"),
        ("model.network.receptive_field_dims=3", "a list of integers"),
        ("model.network.resnet_activation=gelu", "concat_elu or elu or relu"),
        ("model.optimizer.lr=fast", "a number"),
        ("trainer.max_epochs=two", "an integer"),
        ("trainer.precision=fp8", "bf16-mixed"),
        ("data.batch_size=many", "an integer"),
        ("callbacks.samples.every_n_epochs=often", "an integer"),
        ("seed=x", "an integer"),
        ("matmul_precision=low", "highest or high or medium"),
        ("threads=two", "auto or an integer"),
        ("threads=1.5", "auto or an integer"),
    ],
)
def test_a_wrong_type_is_refused_with_the_right_one(override: str, allowed: str) -> None:
    message = refusal(override)
    assert message.startswith(f"{override}: must be ")
    assert allowed in message


def test_integers_are_numbers_and_lists_are_tuples() -> None:
    check(
        compose_config("train", [*CPU, "model.network.dropout=0", "model.optimizer.betas=[0,0.5]"]),
        RunOptions,
    )


def test_a_constructors_complaint_names_its_part() -> None:
    config = compose_config("train", [*CPU, "model.network.num_hierarchies=9"])
    with pytest.raises(ValueError, match=r"^model\.network\.num_hierarchies=9") as caught:
        build(config, "model")
    assert "\n" not in str(caught.value)


def test_a_cosine_without_an_end_is_refused() -> None:
    config = compose_config("train", [*CPU, "model/scheduler=cosine"])
    model = build(config, "model")
    with pytest.raises(ValueError, match=r"set trainer\.max_steps"):
        model.configure_optimizers()


def test_run_folders_are_new_every_time_but_shared_by_the_processes_of_a_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run_dir() -> str:
        return str(compose_config("train", ["trainer=cpu"]).run_dir)

    for name in ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "TORCHELASTIC_RUN_ID", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert run_dir().startswith("runs/pp-digits/20")
    assert run_dir() != run_dir()
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "abc")
    assert run_dir() == "runs/pp-digits/torchrun-abc"
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    assert run_dir() == "runs/pp-digits/slurm-17"
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "16")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "2")
    assert run_dir() == "runs/pp-digits/slurm-16_2"
    monkeypatch.setenv(configuration.RUN_DIR_VARIABLE, "parent's")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert run_dir() == "parent's"


@pytest.mark.slow
def test_a_mistake_ends_the_command_with_one_line_and_status_2(tmp_path: Path) -> None:
    command = ["-m", "pixelcnn_lit", "train", "trainer=cpu", f"run_dir={tmp_path}/run"]
    for mistake in ("model.num_resnets=3", "model.network.num_hierarchies=9", "data.path=/nowhere"):
        ended = forkserver.run(*command, mistake, cwd=tmp_path)
        assert ended.returncode == 2
        assert ended.stderr.startswith("error: ")
        assert len(ended.stderr.splitlines()) == 1, ended.stderr
        assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("multirun", [[], ["-m"]])
def test_ctrl_c_that_lightning_ends_with_status_1_ends_all_jobs(
    multirun: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def task(config: DictConfig) -> None:
        seen.append(config.seed)
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            sys.exit(1)

    seeds = "seed=0,1" if multirun else "seed=0"
    sweep_dir = f"hydra.sweep.dir={tmp_path}/out"
    words = [*multirun, *CPU, "logger=none", seeds, sweep_dir]
    monkeypatch.setattr(sys, "argv", ["pixelcnn-lit", "train", *words])
    with pytest.raises(SystemExit) as ended:
        configuration.run("train", lambda: configuration.Command(task, RunOptions, None))
    assert ended.value.code == 130
    assert seen == [0]


def test_an_added_option_at_the_top_that_nothing_reads_is_refused() -> None:
    assert refusal("+max_epochs=7").startswith("max_epochs=7: no such option")
    assert refusal("+width=???").startswith("width=???: no such option")
    for reader in ("${width}", "${...width}", "${oc.select:width,8}"):
        config = compose_config("train", [*CPU, "+width=7", f"model.network.num_filters={reader}"])
        check(config, RunOptions)
        assert config.model.network.num_filters == 7


def test_an_option_of_a_part_that_is_left_out_is_refused() -> None:
    message = refusal("model=autoencoder", "callbacks.samples.num_rows=1")
    assert (
        message == "callbacks.samples.num_rows=1: callbacks.samples is null here, it has no options"
    )
