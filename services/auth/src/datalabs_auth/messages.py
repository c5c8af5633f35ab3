"""What auth answers over NATS."""

from datalabs_auth.accounts import Accounts
from datalabs_auth.sessions import Sessions
from datalabs_contracts import rpc
from datalabs_contracts.base import Nothing, Page
from datalabs_contracts.people import (
    CreatedPerson,
    CreatePerson,
    EndSession,
    PeopleQuery,
    Person,
    PersonQuery,
    ResolveSession,
    Session,
    SignedIn,
    SignInAttempt,
)
from datalabs_runtime.messaging import Call, Messaging


def register(messaging: Messaging, *, accounts: Accounts, sessions: Sessions) -> None:
    """Serve auth's operations."""

    async def sign_in(request: SignInAttempt, _: Call) -> SignedIn:
        return await sessions.sign_in(request)

    async def resolve_session(request: ResolveSession, _: Call) -> Session:
        return await sessions.resolve(request)

    async def end_session(request: EndSession, call: Call) -> Nothing:
        return await sessions.end(request, caller=call.identity)

    async def create_person(request: CreatePerson, call: Call) -> CreatedPerson:
        return await accounts.create(request, caller=call.identity)

    async def list_people(request: PeopleQuery, call: Call) -> Page[Person]:
        return await accounts.page(request, caller=call.identity)

    async def get_person(request: PersonQuery, call: Call) -> Person:
        return await accounts.get(request, caller=call.identity)

    messaging.serve(rpc.SIGN_IN, sign_in)
    messaging.serve(rpc.RESOLVE_SESSION, resolve_session)
    messaging.serve(rpc.END_SESSION, end_session)
    messaging.serve(rpc.CREATE_PERSON, create_person)
    messaging.serve(rpc.LIST_PEOPLE, list_people)
    messaging.serve(rpc.GET_PERSON, get_person)
