import { parseSync } from "oxc-parser"
import type { Finding, Text } from "./Finding.ts"

/** Comments that tell what the code was: the reader needs what it is, and git keeps the rest. */
export const historyInComments = (text: Text): ReadonlyArray<Finding> => {
  if (!/\.[cm]?tsx?$/.test(text.path)) return []
  return parseSync(text.path, text.content).comments.flatMap((comment) => {
    const found = history.exec(comment.value)
    if (found === null) return []
    const line = text.content.slice(0, comment.start + found.index).split("\n").length
    return [{
      check: "history-words",
      where: `${text.path}:${line}`,
      message: `"${found[0]}" tells history; say what holds now`
    }]
  })
}

// `the key used to seal` is a present use of the verb, so a subject or a state has to stand beside it.
const history =
  /\b(previously|formerly|no longer(?! than)|not any ?more|anymore|in the past|(it|this|that|which|we|they|there) used to|used to (be|have|live|return|do|call|take))\b/i
