import type { Workspace } from "./Workspace.ts"

/** One place where the code and the plan disagree. */
export interface Violation {
  readonly rule: string
  /** A file of the workspace, with a line where one is known. */
  readonly where: string
  readonly message: string
}

/** What a rule finds, before its own name is attached. */
export type Finding = Omit<Violation, "rule">

/** One executable sentence of the architecture. */
export interface Rule {
  /** The name of the rule and of its failing fixture. */
  readonly name: string
  readonly sentence: string
  find(workspace: Workspace): ReadonlyArray<Finding>
}

/** Runs rules over a workspace. */
export const check = (rules: ReadonlyArray<Rule>, workspace: Workspace): ReadonlyArray<Violation> =>
  rules.flatMap((rule) => rule.find(workspace).map((finding) => ({ rule: rule.name, ...finding })))
