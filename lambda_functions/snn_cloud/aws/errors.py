"""What can go wrong between a run and AWS."""

from __future__ import annotations

from snn.errors import SnnError


class CloudError(SnnError):
    """The root of what `snn_cloud` raises on purpose."""


class StackFailed(CloudError):
    """CloudFormation could not create or update the stack; the message has the first resource's reason."""


class LaunchRejected(CloudError):
    """LaunchLambda refused the run; the message is its one-line reason."""


class RunNotFound(CloudError):
    """The ledger knows no run of this name."""


class RunFailed(CloudError):
    """A run ended FAILED; the message is the reason in the ledger."""


class RunCancelled(CloudError):
    """A run ended CANCELLED."""


class ChampionChanged(CloudError):
    """The champion is no longer the one that the challenger was compared with."""


class NotApproved(CloudError):
    """A version that somebody has to approve, or has rejected, cannot become champion."""


class LeaseLost(CloudError):
    """Another trainer holds the run now: this one may not write any more."""


class CacheLost(CloudError):
    """An array that was put into the cache is no longer there, or incomplete; the step can be repeated."""


class NeuronFailed(CloudError):
    """A NeuronLambda invocation failed every time it was asked, or refused its task; the message is its error."""


class Stopped(CloudError):
    """The run is to stop, so no further step of its epoch is started; the epoch is discarded."""


class PeerLost(CloudError):
    """Another trainer of the same run is gone; the run can go on from its last checkpoint."""
