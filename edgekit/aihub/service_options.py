"""What the user asks of Qualcomm AI Hub when a conversion goes by way of it. Imports nothing that is slow."""

from __future__ import annotations

from dataclasses import dataclass, fields

from edgekit.aihub import job_options
from edgekit.errors import UsageError
from edgekit.options import Option, Values

OPTIONS = (
    Option("dry_run", "Show what would be sent, and where; send nothing.", "compiling", bool, default=False),
    Option(
        "runtime",
        "What the result is opened by (default: precompiled_qnn_onnx).",
        "compiling",
        choices=job_options.RUNTIMES,
    ),
    Option("quantize", "Who quantises (default: here).", "compiling", choices=("here", "aihub")),
    Option("link", "A context binary by way of a DLC and a link job.", "compiling", bool, default=False),
    Option("qairt_version", "Default is the one installed here.", "compiling", metavar="VERSION"),
    Option("hub_options", "More options of the compile job.", "compiling", metavar="TEXT"),
)


@dataclass(frozen=True)
class ServiceOptions:
    """`url`: the service that is asked; what one made is not another's."""

    runtime: str = job_options.RUNTIMES[0]
    quantize: str = "here"  # or "aihub": by a quantize job
    link: bool = False  # a context binary by way of a DLC and a link job
    qairt_version: str = ""
    hub_options: str = ""  # of the compile job
    dry_run: bool = False
    url: str = ""

    @property
    def quantises_there(self) -> bool:
        """Whether the service quantises, by a job of its own."""
        return self.quantize != "here"

    @classmethod
    def of(cls, values: Values) -> ServiceOptions:
        """Raises UsageError for what AI Hub would refuse."""
        known = {f.name for f in fields(cls)}
        service = cls(**{k: v for k, v in values.items() if k in known})  # type: ignore[arg-type]
        if service.link and service.runtime != "qnn_context_binary":
            raise UsageError(
                f"A link job makes a context binary, not {service.runtime}",
                "",
                "add --runtime qnn_context_binary, or leave --link out",
            )
        job_options.check("compile", service.hub_options)
        return service
