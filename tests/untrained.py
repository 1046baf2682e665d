"""Exports untrained models, which tests of serving and evaluation need but do not train."""


def export_untrained(config_path, folder, seed=0, overrides=(), **card):
    """Exports an untrained model of a configuration file.

    Args:
        config_path: The configuration file.
        folder: Folder of the SavedModel.
        seed: Seed of the weights.
        overrides: Overrides of the configuration, as for `--set`.
        **card: Entries of the model's card in addition to its contract.
    """
    # Imported here, because most tests that load this module export no model.
    import keras

    from framecast.models.export.module import save_module
    from framecast.models.networks import builders
    from framecast.pipeline.commands import check
    from framecast.pipeline.config import config as configuration
    from framecast.pipeline.dag.contract import contract

    config = configuration.load(str(config_path), overrides)
    keras.utils.set_random_seed(seed)
    model = builders.build(config.model, config.task, config.clip, keras.DTypePolicy("float32"))
    save_module(check.untrained_module(model, config), str(folder), {"contract": contract(config), **card})
