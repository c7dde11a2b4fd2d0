import { failureSentence, type Flow } from "./Flow.ts"

/** How a flow stands, as a page tells it to a person: fixed text, nothing of the request. */
export interface FlowOutcome {
  readonly title: string
  readonly sentence: string
}

/** The outcome of a flow. A state without one does not compile. */
export const outcomeOf = ({ failure, state }: Pick<Flow, "failure" | "state">): FlowOutcome => {
  switch (state) {
    case "completed":
      return {
        title: "Connected",
        sentence: "The connection is ready. You can close this window and go back to the program."
      }
    case "failed":
      return { title: "Not connected", sentence: failureSentence[failure ?? "start_failed"] }
    case "cancelled":
      return { title: "Cancelled", sentence: "The connection was cancelled. Nothing was stored." }
    case "superseded":
      return {
        title: "Replaced",
        sentence: "A newer attempt has replaced this one. Nothing was stored; finish the newer one."
      }
    case "expired":
      return { title: "Expired", sentence: "The time to connect is over. Start again." }
    case "outcome_unknown":
      return { title: "Not finished", sentence: "The provider's answer was lost on the way. Start again." }
    case "awaiting_finalize":
      return {
        title: "Almost there",
        sentence: "Go back to the application that you came from; it finishes the connection."
      }
    case "pending":
    case "exchanging":
      return { title: "One moment", sentence: "The connection is being finished." }
  }
}
