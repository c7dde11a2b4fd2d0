import { Schema } from "effect"

/** The end of a command that ran: its exit code becomes ours, and there is nothing to say about it. */
export class ChildExit extends Schema.TaggedError<ChildExit>("valetkey/cli/ChildExit")("ChildExit", {
  exitCode: Schema.Int
}) {
  override get message() {
    return `The command ended with ${this.exitCode}`
  }
}
