"""The files of other steps that a retry prices by: measured where they exist, else as planned."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from core.domain.ids import AssetId
from core.domain.plans import OperationKind, Parameters, Plan, Source, Step, StepOutput
from core.media.operations.port import Expected
from core.media.operations.registry import OPERATIONS
from core.ordering.planning.nodes.lengths import expected_outputs
from core.ordering.planning.nodes.planned import KnownFile, UsedFile, expected_of_file
from core.ordering.planning.nodes.purchases import media_of
from core.providers.inputs import complete_inputs
from core.providers.registry import Providers
from core.store.files.assets import StepAsset


@dataclass(slots=True, kw_only=True)
class StepFiles:
    """The user's assets and what the steps of a plan make, as far as it is known."""

    assets: Mapping[AssetId, KnownFile]
    made: dict[StepOutput, UsedFile] = field(default_factory=dict[StepOutput, UsedFile])

    def of(self, source: Source) -> UsedFile | None:
        """Return what is known of a source."""
        if isinstance(source, StepOutput):
            return self.made.get(source)
        asset = self.assets.get(source.asset)
        if asset is None or asset.kind is None:
            return None
        expected = expected_of_file(asset.kind, asset.facts)
        return UsedFile(source=source, expected=expected, facts=asset.facts)


def files_of_plan(
    catalogue: Providers,
    plan: Plan,
    parameters: Mapping[str, Parameters],
    assets: Mapping[AssetId, KnownFile],
    *,
    kept: Collection[str],
    stored: Iterable[StepAsset],
) -> StepFiles:
    """Return what is known of each file of an ended execution's plan.

    parameters: by step. kept: steps whose files the retry uses. stored: the files in our storage.
    """
    files = StepFiles(assets=assets)
    for item in stored:
        if item.step in kept:
            source = StepOutput(step=item.step, output=item.asset.output_number)
            expected = expected_of_file(item.asset.kind, item.asset.media)
            files.made[source] = UsedFile(source=source, expected=expected, facts=item.asset.media)
    for step in plan.steps:  # each after those that it needs
        for number, expected in enumerate(_expected(catalogue, step, parameters[step.name], files)):
            source = StepOutput(step=step.name, output=number)
            files.made.setdefault(source, UsedFile(source=source, expected=expected))
    return files


def _expected(
    catalogue: Providers, step: Step, parameters: Parameters, files: StepFiles
) -> tuple[Expected, ...]:
    """Return what a step makes; nothing if that is not known."""
    used = {
        name: file
        for name, source in parameters.sources.items()
        if (file := files.of(source)) is not None
    }
    expected = {name: file.expected for name, file in used.items() if file.expected is not None}
    if isinstance(step.kind, OperationKind):
        if expected.keys() != parameters.sources.keys():
            return ()
        operation = OPERATIONS[step.kind]
        try:
            ordered = operation.parameters.model_validate(parameters.operation)
        except ValueError:  # no longer accepted; the job fails with the reason
            return ()
        return (operation.expect(ordered, expected),)
    offer = catalogue.find_model(step.model, step.provider)
    if offer is None:
        return ()
    _, model = offer
    media = {name: media_of(model, name, file) for name, file in used.items()}
    return expected_outputs(model, complete_inputs(model, parameters.values, media), expected)
