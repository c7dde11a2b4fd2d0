// House rules for oxlint that its own rules cannot say.

interface Node {
  readonly type: string
  readonly name?: string
  readonly value?: unknown
  readonly object?: Node
  readonly property?: Node
  readonly computed?: boolean
  readonly callee?: Node
  readonly arguments?: ReadonlyArray<Node>
  readonly source?: Node
  readonly imported?: Node
  readonly specifiers?: ReadonlyArray<Node>
}

interface Context {
  report(finding: { readonly node: Node; readonly message: string }): void
}

interface Rule {
  create(context: Context): Readonly<Record<string, (node: Node) => void>>
}

const skipping = new Set(["skip", "only", "skipIf", "runIf", "todo", "fails"])
const suites = new Set(["it", "test", "describe", "layer", "suite"])

// `it.effect.skip` starts at `it`.
const rootOf = (node: Node | undefined): string | undefined =>
  node?.type === "MemberExpression" ? rootOf(node.object) : node?.type === "Identifier" ? node.name : undefined

/** Every test runs, each time. */
const noSkippedTests: Rule = {
  create: (context) => ({
    MemberExpression: (node) => {
      const root = rootOf(node.object)
      if (!node.computed && root !== undefined && suites.has(root) && skipping.has(node.property?.name ?? "")) {
        context.report({ node, message: `.${node.property?.name} takes tests out of the run` })
      }
    }
  })
}

/** A test waits for what it needs, not for a while. */
const noTestSleep: Rule = {
  create: (context) => ({
    CallExpression: (node) => {
      const name = node.callee?.type === "MemberExpression" ? node.callee.property?.name : node.callee?.name
      if (name === "setTimeout" || name === "setInterval") {
        context.report({ node, message: "wait on a Deferred, Latch or Queue, or move the TestClock" })
      }
    },
    ImportDeclaration: (node) => {
      if (node.source?.value === "node:timers/promises") {
        context.report({ node, message: "wait on a Deferred, Latch or Queue, or move the TestClock" })
      }
    }
  })
}

/** One way to assert. */
const noExpect: Rule = {
  create: (context) => ({
    ImportDeclaration: (node) => {
      for (const specifier of node.specifiers ?? []) {
        if (/^(@effect\/)?vitest$/.test(String(node.source?.value)) && specifier.imported?.name === "expect") {
          context.report({ node: specifier, message: "use assert" })
        }
      }
    }
  })
}

/** Time and chance come from Effect's services, so that a test can hold them. */
const noAmbientTime: Rule = {
  create: (context) => ({
    CallExpression: (node) => {
      const callee = node.callee
      if (callee?.type !== "MemberExpression") return
      const name = `${callee.object?.name}.${callee.property?.name}`
      if (
        ["Date.now", "Math.random", "performance.now", "crypto.randomUUID", "crypto.getRandomValues"].includes(name)
      ) {
        context.report({ node, message: `${name} cannot be held by a test; use Clock, DateTime or a port` })
      }
    },
    NewExpression: (node) => {
      if (node.callee?.name === "Date" && node.arguments?.length === 0) {
        context.report({ node, message: "new Date() cannot be held by a test; use Clock or DateTime" })
      }
    }
  })
}

export default {
  meta: { name: "house" },
  rules: {
    "no-skipped-tests": noSkippedTests,
    "no-test-sleep": noTestSleep,
    "no-expect": noExpect,
    "no-ambient-time": noAmbientTime
  }
}
