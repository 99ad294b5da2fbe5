"""Who may do what: every role of the templates and the two policies in docs, permission by permission."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from documentation import ROOT
from template_logic import TEMPLATES, as_list, resolved

Document = dict[str, Any]


@dataclass(frozen=True)
class Permission:
    """One action on one resource, which one statement of a policy allows."""

    who: str  # a role, as `roles` calls it, or a policy in docs
    policy: str
    sid: str
    action: str
    resource: str  # as it is written, without what comes before an ARN's last colon; "" for all of the statement's
    place: int  # of the resource in its statement

    def __str__(self) -> str:
        return " ".join(filter(None, (self.who, self.sid, self.action, self.resource)))


def permissions_of(who: str, policies: Mapping[str, Document], each_resource: bool = True) -> list[Permission]:
    """Return all that policies (by name) allow, in their order: an action on a resource each, or an action each."""
    return [
        Permission(who, name, statement["Sid"], action, resource, place)
        for name, document in policies.items()
        for statement in document["Statement"]
        if statement["Effect"] == "Allow"
        for action in as_list(statement["Action"])
        for place, resource in enumerate(
            [resolved(item).rpartition(":")[2] for item in as_list(statement["Resource"])] if each_resource else [""]
        )
    ]


def without(document: Document, permission: Permission) -> Document:
    """Return a policy that lacks just this: the same action on the statement's other resources stays."""
    statements = []
    for statement in document["Statement"]:
        if statement.get("Sid") != permission.sid:
            statements.append(statement)
            continue
        actions, resources = as_list(statement["Action"]), as_list(statement["Resource"])
        assert permission.action in actions
        rest = [action for action in actions if action != permission.action]
        others = [item for place, item in enumerate(resources) if permission.resource and place != permission.place]
        if rest:
            statements.append({**statement, "Action": rest})
        if others:
            statements.append(
                {**statement, "Sid": f"{permission.sid}Else", "Action": permission.action, "Resource": others}
            )
    return {**document, "Statement": statements}


def roles() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield (name, template, properties) of every role in the templates; the notebook's is called `NotebookRole`."""
    for template, content in TEMPLATES.items():
        for name, resource in content["Resources"].items():
            if resource["Type"] == "AWS::IAM::Role":
                yield (name if name != "Role" else f"{template.capitalize()}Role"), template, resource["Properties"]


def _policies(template: str, role: Mapping[str, Any]) -> dict[str, Document]:
    """Return a role's policies by name: its own, and the managed ones of its template by what they are called there."""
    own = {policy["PolicyName"]: policy["PolicyDocument"] for policy in role.get("Policies", [])}
    for attached in role.get("ManagedPolicyArns", []):
        _, chosen, _ = attached["Fn::If"]
        own[chosen["Ref"]] = TEMPLATES[template]["Resources"][chosen["Ref"]]["Properties"]["PolicyDocument"]
    return own


ROLES = {name: permissions_of(name, _policies(template, role)) for name, template, role in roles()}
DOCUMENTED = {
    name: permissions_of(
        name, {name: json.loads((ROOT / "docs" / f"{name}-policy.json").read_text())}, each_resource=False
    )
    for name in ("operator", "deployer")
}
PERMISSIONS = [permission for allowed in {**ROLES, **DOCUMENTED}.values() for permission in allowed]
