import type { Rule } from "./Rule.ts"
import { runtimeCycles } from "./rules/Cycles.ts"
import {
  declaredImports,
  dependencyEdges,
  domainImports,
  internalImports,
  platformBarrel,
  testingIsDevOnly
} from "./rules/Dependencies.ts"
import { egressOnly } from "./rules/Egress.ts"
import { fileSize, moduleNames, sourceFolders } from "./rules/Layout.ts"

/** Every rule of the house, in the order in which violations are printed. */
export const rules: ReadonlyArray<Rule> = [
  dependencyEdges,
  testingIsDevOnly,
  domainImports,
  internalImports,
  declaredImports,
  runtimeCycles,
  egressOnly,
  platformBarrel,
  sourceFolders,
  moduleNames,
  fileSize
]
