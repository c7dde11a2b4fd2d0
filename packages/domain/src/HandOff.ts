import { Schema } from "effect"

/** Error of handing a flow off to another transport. Nothing changed: the flow goes on as it was, if it still does. */
export class HandOffRefused extends Schema.TaggedError<HandOffRefused>("valetkey/HandOffRefused")("HandOffRefused", {
  code: Schema.Literals(["handoff_early", "handoff_late", "handoff_unexpected"])
}) {
  override get message() {
    switch (this.code) {
      case "handoff_early":
        return "The flow is still being started; hand it off when its start has answered"
      case "handoff_late":
        return "The flow does not wait for a consent any more: it has an answer, is over, or was handed off meanwhile; look at its status, or start again"
      case "handoff_unexpected":
        return "An application finalizes this flow and waits for its browser; cancel it and start another"
    }
  }
}
