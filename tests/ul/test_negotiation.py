from __future__ import annotations

import pytest

from pypx.errors import LocalProtocolError, RemoteProtocolError
from pypx.ul.codec import decode_pdu, encode_pdu
from pypx.ul.negotiation import (
    AcceptedContext,
    accepted_contexts,
    answer,
    check_request,
    propose,
    propose_in_batches,
    propose_roles,
)
from pypx.ul.pdu import (
    AAssociateAC,
    AAssociateRJ,
    AAssociateRQ,
    ContextResult,
    PresentationContextAC,
    PresentationContextRQ,
    UserInformation,
)
from pypx.ul.user_information import (
    RoleSelection,
    SOPClassExtendedNegotiation,
    UserIdentityAC,
    UserIdentityRQ,
)
from pypx.values import replace
from tests.ul.vectors import CT, ECHO_RQ, EXPLICIT, IMPLICIT, VERIFICATION

CLASS_UID = "1.2.3.4"


def request(*contexts: PresentationContextRQ, **information) -> AAssociateRQ:
    return AAssociateRQ("CALLED", "CALLING", contexts, UserInformation(**information))


def acceptance(*contexts: PresentationContextAC, **information) -> AAssociateAC:
    return AAssociateAC("CALLED", "CALLING", contexts, UserInformation(**information))


class TestPropose:
    def test_ids_are_odd_and_in_order(self) -> None:
        assert propose([(VERIFICATION, [IMPLICIT]), (CT, (EXPLICIT, IMPLICIT))]) == (
            PresentationContextRQ(1, VERIFICATION, (IMPLICIT,)),
            PresentationContextRQ(3, CT, (EXPLICIT, IMPLICIT)),
        )

    def test_128_are_the_most(self) -> None:
        contexts = propose([(CT, [IMPLICIT])] * 128)
        assert [context.context_id for context in contexts] == list(range(1, 256, 2))
        with pytest.raises(LocalProtocolError, match="129 presentation contexts"):
            propose([(CT, [IMPLICIT])] * 129)

    @pytest.mark.parametrize("pair", [("", [IMPLICIT]), (CT, []), (CT, [""])])
    def test_a_context_needs_both_syntaxes(self, pair) -> None:
        with pytest.raises(LocalProtocolError):
            propose([pair])

    @pytest.mark.parametrize(
        ("count", "sizes"),
        [(0, []), (1, [1]), (128, [128]), (129, [128, 1]), (300, [128, 128, 44])],
    )
    def test_in_batches(self, count: int, sizes: list[int]) -> None:
        batches = propose_in_batches((f"1.2.{n}", [IMPLICIT]) for n in range(count))
        assert [len(batch) for batch in batches] == sizes
        assert [c.abstract_syntax for batch in batches for c in batch] == [
            f"1.2.{n}" for n in range(count)
        ]
        assert all(batch[0].context_id == 1 for batch in batches)

    def test_roles(self) -> None:
        assert propose_roles([CT, CT, "1.2"]) == (
            RoleSelection(CT, False, True),
            RoleSelection("1.2", False, True),
        )
        assert propose_roles([CT], scu=True) == (RoleSelection(CT, True, True),)


PROPOSED = PresentationContextRQ(1, CT, (IMPLICIT,))


class TestCheckRequest:
    def test_nothing_against_it(self) -> None:
        assert check_request(ECHO_RQ) is None
        assert check_request(request(*propose([(CT, [IMPLICIT])] * 128))) is None

    @pytest.mark.parametrize(
        ("version", "refused"), [(1, False), (3, False), (0xFFFF, False), (0, True), (2, True)]
    )
    def test_protocol_version(self, version: int, refused: bool) -> None:
        answered = check_request(replace(ECHO_RQ, protocol_version=version))
        assert answered == (AAssociateRJ(1, 2, 2) if refused else None)

    @pytest.mark.parametrize("name", ["", "1.2.840.10008.3.1.1.2", " 1.2.840.10008.3.1.1.1"])
    def test_application_context(self, name: str) -> None:
        assert check_request(replace(ECHO_RQ, application_context=name)) == AAssociateRJ(1, 1, 2)

    @pytest.mark.parametrize(
        "contexts",
        {
            "none": (),
            "129": (PROPOSED,) * 129,
            "a duplicate": (PROPOSED, PROPOSED),
            "an even ID": (replace(PROPOSED, context_id=2),),
            "the ID 0": (replace(PROPOSED, context_id=0),),
            "no abstract syntax": (replace(PROPOSED, abstract_syntax=""),),
            "no transfer syntax": (replace(PROPOSED, transfer_syntaxes=()),),
            "an empty transfer syntax": (replace(PROPOSED, transfer_syntaxes=("",)),),
        }.values(),
    )
    def test_contexts_that_break_a_rule(self, contexts) -> None:
        with pytest.raises(RemoteProtocolError) as caught:
            check_request(request(*contexts))
        assert caught.value.abort_reason == 6

    def test_a_thousand_transfer_syntaxes(self) -> None:
        context = replace(PROPOSED, transfer_syntaxes=(IMPLICIT,) * 1000)
        assert check_request(request(context)) is None


def explicit_only(abstract: str, proposed: tuple[str, ...]) -> str | ContextResult | None:
    if abstract == VERIFICATION:
        return None
    return EXPLICIT if EXPLICIT in proposed else ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED


class TestAnswer:
    def test_each_context_is_answered(self) -> None:
        rq = request(
            *propose([(VERIFICATION, [IMPLICIT]), (CT, [IMPLICIT, EXPLICIT]), (CT, [IMPLICIT])])
        )
        ac = answer(
            rq,
            explicit_only,
            implementation_class_uid=CLASS_UID,
            implementation_version_name="V",
            maximum_length=99,
        )
        assert ac == AAssociateAC(
            "CALLED",
            "CALLING",
            (
                PresentationContextAC(1, 3, IMPLICIT),
                PresentationContextAC(3, 0, EXPLICIT),
                PresentationContextAC(5, 4, IMPLICIT),
            ),
            UserInformation(99, CLASS_UID, "V"),
        )
        assert accepted_contexts(rq, ac) == {3: AcceptedContext(3, CT, EXPLICIT)}
        encoded = encode_pdu(ac)
        assert decode_pdu(2, encoded[6:]) == ac

    def test_titles_come_back_as_they_came(self) -> None:
        rq = replace(request(PROPOSED), called_ae_title="", calling_ae_title="../\xff")
        ac = answer(rq, lambda *_: IMPLICIT, implementation_class_uid=CLASS_UID)
        assert (ac.called_ae_title, ac.calling_ae_title) == ("", "../\xff")

    @pytest.mark.parametrize("choice", [EXPLICIT, "", ContextResult.ACCEPTANCE])
    def test_a_policy_that_chooses_what_was_not_proposed(self, choice) -> None:
        with pytest.raises(LocalProtocolError):
            answer(request(PROPOSED), lambda *_: choice, implementation_class_uid=CLASS_UID)

    def test_what_the_peer_asked_beyond_contexts(self) -> None:
        negotiation = (SOPClassExtendedNegotiation(CT, b"\1"),)
        identity = UserIdentityAC(b"ok")
        ac = answer(
            request(PROPOSED, user_identity=UserIdentityRQ(1, b"u", b"", True)),
            lambda *_: IMPLICIT,
            implementation_class_uid=CLASS_UID,
            extended_negotiations=negotiation,
            user_identity=identity,
        )
        assert ac.user_information.extended_negotiations == negotiation
        assert ac.user_information.user_identity == identity


class TestRoles:
    @pytest.mark.parametrize(
        ("proposed", "supported", "answered", "agreed"),
        [
            ((False, True), (True, True), (False, True), (False, True)),
            ((True, True), (True, False), (True, False), (True, False)),
            ((True, True), (True, True), (True, True), (True, True)),
            ((True, False), (True, True), (True, False), (True, False)),
            ((False, True), (True, False), (False, False), (False, False)),
            ((False, True), None, None, (True, False)),
        ],
    )
    def test_of_what_is_proposed_what_is_supported(
        self, proposed, supported, answered, agreed
    ) -> None:
        rq = request(PROPOSED, role_selections=(RoleSelection(CT, *proposed),))
        ac = answer(
            rq, lambda *_: IMPLICIT, implementation_class_uid=CLASS_UID, roles=lambda _: supported
        )
        expected = (RoleSelection(CT, *answered),) if answered else ()
        assert ac.user_information.role_selections == expected
        assert accepted_contexts(rq, ac) == {1: AcceptedContext(1, CT, IMPLICIT, *agreed)}

    def test_roles_are_of_one_sop_class(self) -> None:
        rq = request(
            *propose([(CT, [IMPLICIT]), (VERIFICATION, [IMPLICIT])]),
            role_selections=(RoleSelection(CT, False, True),),
        )
        ac = answer(
            rq,
            lambda *_: IMPLICIT,
            implementation_class_uid=CLASS_UID,
            roles=lambda _: (True, True),
        )
        contexts = accepted_contexts(rq, ac)
        assert contexts[1].requestor_is_scp
        assert not contexts[3].requestor_is_scp
        assert contexts[3].requestor_is_scu

    def test_an_answer_beyond_the_question_gives_no_role(self) -> None:
        rq = request(PROPOSED, role_selections=(RoleSelection(CT, True, False),))
        ac = acceptance(
            PresentationContextAC(1, 0, IMPLICIT), role_selections=(RoleSelection(CT, True, True),)
        )
        assert accepted_contexts(rq, ac) == {1: AcceptedContext(1, CT, IMPLICIT, True, False)}

    def test_an_answer_to_no_question_changes_nothing(self) -> None:
        ac = acceptance(
            PresentationContextAC(1, 0, IMPLICIT), role_selections=(RoleSelection(CT, True, True),)
        )
        assert accepted_contexts(request(PROPOSED), ac) == {1: AcceptedContext(1, CT, IMPLICIT)}

    def test_no_policy_leaves_the_default(self) -> None:
        rq = request(PROPOSED, role_selections=propose_roles([CT]))
        ac = answer(rq, lambda *_: IMPLICIT, implementation_class_uid=CLASS_UID)
        assert ac.user_information.role_selections == ()
        assert not accepted_contexts(rq, ac)[1].requestor_is_scp


class TestAcceptedContexts:
    @pytest.mark.parametrize("result", [1, 2, 3, 4, 9])
    def test_a_rejected_context_is_none_whatever_its_transfer_syntax(self, result: int) -> None:
        for syntax in ("", IMPLICIT, "1.2.3"):
            ac = acceptance(PresentationContextAC(1, result, syntax))
            assert accepted_contexts(request(PROPOSED), ac) == {}

    def test_a_context_without_answer_is_none(self) -> None:
        assert accepted_contexts(request(PROPOSED), acceptance()) == {}

    @pytest.mark.parametrize(
        "contexts",
        {
            "an ID that was not proposed": (PresentationContextAC(3, 0, IMPLICIT),),
            "a rejected ID that was not proposed": (PresentationContextAC(2, 3, ""),),
            "a transfer syntax that was not proposed": (PresentationContextAC(1, 0, EXPLICIT),),
            "no transfer syntax": (PresentationContextAC(1, 0, ""),),
            "two answers": (PresentationContextAC(1, 0, IMPLICIT),) * 2,
        }.values(),
    )
    def test_answers_to_another_request(self, contexts) -> None:
        with pytest.raises(RemoteProtocolError) as caught:
            accepted_contexts(request(PROPOSED), acceptance(*contexts))
        assert caught.value.abort_reason == 6
