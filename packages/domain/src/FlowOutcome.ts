import type { Flow } from "./Flow.ts"
import { english, type FlowTexts } from "./FlowTexts.ts"

/** How a flow stands, as a page tells it to a person: fixed text, nothing of the request. */
export interface FlowOutcome {
  readonly title: string
  readonly sentence: string
}

/** The outcome of a flow in the words of a language. */
export const outcomeOf = (
  { failure, state }: Pick<Flow, "failure" | "state">,
  texts: FlowTexts = english
): FlowOutcome =>
  state === "failed"
    ? { title: texts.failed, sentence: texts.failures[failure ?? "start_failed"] }
    : texts.states[state]
