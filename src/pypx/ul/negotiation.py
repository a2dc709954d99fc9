"""What the two sides agree on: presentation contexts and roles (PS3.8 §7.1.1, PS3.7 §D.3).

In: A-ASSOCIATE PDUs, and a policy as functions. Out: A-ASSOCIATE PDUs, and what was
agreed. Which SOP classes and transfer syntaxes exist does not belong here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from pypx.errors import LocalProtocolError
from pypx.ul.items import malformed
from pypx.ul.pdu import (
    APPLICATION_CONTEXT,
    DEFAULT_MAXIMUM_LENGTH,
    AAssociateAC,
    AAssociateRJ,
    AAssociateRQ,
    ContextResult,
    PresentationContextAC,
    PresentationContextRQ,
    RejectResult,
    RejectSource,
    UserInformation,
)
from pypx.values import frozen

TYPE_CHECKING = False  # the module typing would cost more to import than this one
if TYPE_CHECKING:
    from pypx.ul.user_information import (
        RoleSelection,
        SOPClassExtendedNegotiation,
        UserIdentityAC,
    )

__all__ = [
    "MAXIMUM_CONTEXTS",
    "AcceptedContext",
    "Support",
    "accepted_contexts",
    "answer",
    "answer_roles",
    "check_request",
    "propose",
    "propose_in_batches",
    "propose_roles",
]

MAXIMUM_CONTEXTS = 128
"""The odd numbers that fit into the 1 byte of a presentation context ID."""

Support = Callable[[str, tuple[str, ...]], "str | ContextResult | None"]
"""A policy: abstract syntax and proposed transfer syntaxes to the answer.

The answer is the transfer syntax chosen, or the result that rejects the context, or
None for *abstract syntax not supported*.
"""

_DEFAULT_ROLES = (True, False)


@frozen
class AcceptedContext:
    """A presentation context that both sides agreed on.

    Attributes:
        context_id: Odd, 1 to 255.
        abstract_syntax: The SOP class UID.
        transfer_syntax: The chosen transfer syntax UID.
        requestor_is_scu: Whether the requestor may be SCU.
        requestor_is_scp: Whether the requestor may be SCP, as C-GET needs it.
    """

    context_id: int
    abstract_syntax: str
    transfer_syntax: str
    requestor_is_scu: bool = True
    requestor_is_scp: bool = False


def propose(syntaxes: Iterable[tuple[str, Sequence[str]]]) -> tuple[PresentationContextRQ, ...]:
    """Make the presentation contexts of a request, with IDs 1, 3, 5 and so on.

    Args:
        syntaxes: Abstract syntax and transfer syntaxes of each; the same abstract syntax
            may be there more than once.

    Raises:
        LocalProtocolError: They are more than 128, or one has no syntax.
    """
    pairs = list(syntaxes)
    if len(pairs) > MAXIMUM_CONTEXTS:
        raise LocalProtocolError(
            f"{len(pairs)} presentation contexts cannot be proposed in one association; "
            f"{MAXIMUM_CONTEXTS} are the most.",
            hint="Name fewer SOP classes or transfer syntaxes, or use several associations.",
        )
    for abstract, transfer in pairs:
        if not abstract or not transfer or not all(transfer):
            raise LocalProtocolError(
                f"A presentation context needs an abstract syntax and a transfer syntax: "
                f"{abstract!r}, {tuple(transfer)!r}."
            )
    return tuple(
        PresentationContextRQ(2 * number + 1, abstract, tuple(transfer))
        for number, (abstract, transfer) in enumerate(pairs)
    )


def propose_in_batches(
    syntaxes: Iterable[tuple[str, Sequence[str]]],
) -> list[tuple[PresentationContextRQ, ...]]:
    """Make the presentation contexts of as many requests as are needed, 128 in each.

    Raises:
        LocalProtocolError: One has no syntax.
    """
    pairs = list(syntaxes)
    return [
        propose(pairs[start : start + MAXIMUM_CONTEXTS])
        for start in range(0, len(pairs), MAXIMUM_CONTEXTS)
    ]


def propose_roles(
    sop_class_uids: Iterable[str], *, scu: bool = False, scp: bool = True
) -> tuple[RoleSelection, ...]:
    """Make the role selections of a request, by default as SCP only, as C-GET needs it."""
    from pypx.ul.user_information import RoleSelection  # rare: not worth start-up time

    return tuple(RoleSelection(uid, scu, scp) for uid in dict.fromkeys(sop_class_uids))


def check_request(rq: AAssociateRQ) -> AAssociateRJ | None:
    """Check what any acceptor has to refuse.

    Returns:
        The rejection of another protocol version or application context; None where
        there is nothing against the request.

    Raises:
        RemoteProtocolError: The presentation contexts break a rule (PS3.8 §9.3.2.2).
    """
    if not rq.protocol_version & 1:
        return AAssociateRJ(RejectResult.PERMANENT, RejectSource.SERVICE_PROVIDER_ACSE, 2)
    if rq.application_context != APPLICATION_CONTEXT:
        return AAssociateRJ(RejectResult.PERMANENT, RejectSource.SERVICE_USER, 2)
    contexts = rq.presentation_contexts
    if not 1 <= len(contexts) <= MAXIMUM_CONTEXTS:
        raise malformed(f"The peer proposed {len(contexts)} presentation contexts, not 1 to 128.")
    seen: set[int] = set()
    for context in contexts:
        number = context.context_id
        if not number & 1:
            raise malformed(f"The peer proposed a presentation context {number}: IDs are odd.")
        if number in seen:
            raise malformed(f"The peer proposed two presentation contexts {number}.")
        seen.add(number)
        if not context.abstract_syntax:
            raise malformed(f"The presentation context {number} has no abstract syntax.")
        if not any(context.transfer_syntaxes):
            raise malformed(f"The presentation context {number} has no transfer syntax.")
    return None


def answer(
    rq: AAssociateRQ,
    supported: Support,
    *,
    implementation_class_uid: str,
    implementation_version_name: str = "",
    maximum_length: int = DEFAULT_MAXIMUM_LENGTH,
    roles: Callable[[str], tuple[bool, bool] | None] | None = None,
    extended_negotiations: tuple[SOPClassExtendedNegotiation, ...] = (),
    user_identity: UserIdentityAC | None = None,
) -> AAssociateAC:
    """Make the acceptance of a request.

    Args:
        rq: The request; :func:`check_request` has nothing against it.
        supported: The policy for presentation contexts.
        implementation_class_uid: Ours.
        implementation_version_name: Ours, at most 16 characters.
        maximum_length: The longest P-DATA-TF that we receive, in bytes; 0 for any.
        roles: The policy for roles, see :func:`answer_roles`; None leaves all roles
            at their default.
        extended_negotiations: Those of our answers that the peer asked for.
        user_identity: Our response, where the peer requested one.

    Raises:
        LocalProtocolError: The policy chose a transfer syntax that was not proposed.
    """
    return AAssociateAC(
        rq.called_ae_title,
        rq.calling_ae_title,
        tuple(_answer_context(context, supported) for context in rq.presentation_contexts),
        UserInformation(
            maximum_length,
            implementation_class_uid,
            implementation_version_name,
            role_selections=answer_roles(rq, roles) if roles else (),
            extended_negotiations=extended_negotiations,
            user_identity=user_identity,
        ),
    )


def answer_roles(
    rq: AAssociateRQ, roles: Callable[[str], tuple[bool, bool] | None]
) -> tuple[RoleSelection, ...]:
    """Answer the role selections of a request: of what is proposed, what is supported.

    Args:
        rq: The request.
        roles: SOP class UID to whether the requestor may be SCU and may be SCP; None
            leaves its roles at the default.
    """
    answers = []
    for proposed in rq.user_information.role_selections:
        allowed = roles(proposed.sop_class_uid)
        if allowed is not None:
            scu, scp = allowed
            answers.append(
                type(proposed)(proposed.sop_class_uid, proposed.scu and scu, proposed.scp and scp)
            )
    return tuple(answers)


def accepted_contexts(rq: AAssociateRQ, ac: AAssociateAC) -> dict[int, AcceptedContext]:
    """Give the presentation contexts that were agreed on, by their ID.

    A proposed context without an answer counts as rejected.

    Raises:
        RemoteProtocolError: The answer is none to this request (``abort_reason`` 6).
    """
    proposed = {context.context_id: context for context in rq.presentation_contexts}
    roles = _agreed_roles(rq, ac)
    accepted: dict[int, AcceptedContext] = {}
    for context in ac.presentation_contexts:
        number = context.context_id
        asked = proposed.pop(number, None)
        if asked is None:
            raise malformed(
                f"The peer answered a presentation context {number} that was not proposed, "
                "or answered it twice."
            )
        if context.result != ContextResult.ACCEPTANCE:
            continue
        if context.transfer_syntax not in asked.transfer_syntaxes:
            raise malformed(
                f"The peer accepted the presentation context {number} with the transfer syntax "
                f"{context.transfer_syntax!r}, which was not proposed."
            )
        accepted[number] = AcceptedContext(
            number,
            asked.abstract_syntax,
            context.transfer_syntax,
            *roles.get(asked.abstract_syntax, _DEFAULT_ROLES),
        )
    return accepted


def _answer_context(context: PresentationContextRQ, supported: Support) -> PresentationContextAC:
    choice = supported(context.abstract_syntax, context.transfer_syntaxes)
    if choice is None:
        choice = ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED
    if isinstance(choice, ContextResult):
        if choice is ContextResult.ACCEPTANCE:
            raise LocalProtocolError("An accepted presentation context needs a transfer syntax.")
        # Without meaning, but the item has to be there: PS3.8 Table 9-18.
        unused = next(iter(context.transfer_syntaxes), "")
        return PresentationContextAC(context.context_id, choice, unused)
    if choice not in context.transfer_syntaxes:
        raise LocalProtocolError(
            f"The transfer syntax {choice!r} was chosen for the presentation context "
            f"{context.context_id}, but the peer did not propose it."
        )
    return PresentationContextAC(context.context_id, ContextResult.ACCEPTANCE, choice)


def _agreed_roles(rq: AAssociateRQ, ac: AAssociateAC) -> dict[str, tuple[bool, bool]]:
    """Give the roles of the requestor by SOP class, where both sides spoke of them."""
    answered = {role.sop_class_uid: role for role in ac.user_information.role_selections}
    roles = {}
    for role in rq.user_information.role_selections:
        agreed = answered.get(role.sop_class_uid)
        if agreed is not None:
            roles[role.sop_class_uid] = (role.scu and agreed.scu, role.scp and agreed.scp)
    return roles
