"""A release whose workflow code has a defect: executions stop after everything is paid for."""

from typing import Final

from temporalio import workflow

from workflows.execution import ExecutionWorkflow

with workflow.unsafe.imports_passed_through():
    from core.domain.messages.executions import ExecutionOrder, ExecutionOutcome

START: Final = (
    "import sys, worker; from tests.support.defective_release import DefectiveWorkflow; "
    "worker.WORKFLOWS = (DefectiveWorkflow, worker.DeliverWebhookWorkflow); sys.exit(worker.main())"
)
"""Python source that runs a worker of this release."""


@workflow.defn(name="execution")
class DefectiveWorkflow(ExecutionWorkflow):
    """The workflow with a defect at its end."""

    @workflow.init
    def __init__(self, order: ExecutionOrder) -> None:
        super().__init__(order)

    @workflow.run
    async def run(self, order: ExecutionOrder) -> ExecutionOutcome:
        return await super().run(order)

    async def _finish(self) -> ExecutionOutcome:
        raise ValueError("a defect of this release")
