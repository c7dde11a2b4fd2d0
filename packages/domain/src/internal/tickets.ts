import { Effect, Option, Redacted } from "effect"
import { AuthorizationServer } from "../AuthorizationServer.ts"
import { Cipher } from "../Cipher.ts"
import * as CompareCode from "../CompareCode.ts"
import { type BrowserSecret, type ConnectOffer, type Departure, ticketLife } from "../ConnectOffer.ts"
import { Entropy } from "../Entropy.ts"
import { sealContext } from "../Flow.ts"
import { FlowStore } from "../FlowStore.ts"
import { RegistrationStore } from "../RegistrationStore.ts"
import { makePushing, read } from "./pushing.ts"

/** Builds `Flows.offer` and `Flows.depart`: what a connect ticket shows, and how a browser takes it. */
export const makeTickets = Effect.gen(function*() {
  const flows = yield* FlowStore
  const cipher = yield* Cipher
  const entropy = yield* Entropy
  const push = makePushing(yield* AuthorizationServer, yield* RegistrationStore)

  const offer = Effect.fn("Flows.offer")(function*(ticket: Redacted.Redacted, browser: BrowserSecret) {
    const found = yield* flows.findByTicket({ ticketHash: entropy.digest(ticket), within: ticketLife })
    return Option.map(found, ({ bindingHash, flow, stateHash }): ConnectOffer => {
      const secret = browser(stateHash)
      const isThis = secret !== undefined && entropy.digest(secret) === bindingHash
      return {
        flow,
        receipt: stateHash,
        compareCode: CompareCode.ofTicket(entropy, ticket),
        browser: bindingHash === undefined ? "none" : isThis ? "this" : "another"
      }
    })
  })

  const depart = Effect.fn("Flows.depart")(function*(ticket: Redacted.Redacted, secret: Redacted.Redacted) {
    const bound = yield* flows.bind({
      ticketHash: entropy.digest(ticket),
      bindingHash: entropy.digest(secret),
      within: ticketLife
    })
    if (Option.isNone(bound)) return Option.none<Departure>()
    const { authorizationUrl, flow } = bound.value
    yield* Effect.annotateCurrentSpan({ "valetkey.flow": flow.id })
    const kept = yield* read(
      yield* cipher.open(sealContext(flow.key.tenant, flow.id, "authorization_url"), authorizationUrl)
    )
    return Option.some<Departure>({
      flow,
      authorizationUrl: Redacted.isRedacted(kept) ? kept : yield* push(flow.key, kept)
    })
  })

  return { offer, depart }
})
