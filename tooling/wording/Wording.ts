import type { Finding, Text } from "./Finding.ts"
import { historyInComments } from "./History.ts"
import { machinePaths, registryHosts } from "./Places.ts"
import { secretLiterals } from "./Secrets.ts"

/** Everything that should read otherwise in one file. */
export const wording = (text: Text): ReadonlyArray<Finding> => [
  ...registryHosts(text),
  ...machinePaths(text),
  ...historyInComments(text),
  ...secretLiterals(text)
]
