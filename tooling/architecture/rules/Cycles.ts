import { dirname, join } from "node:path"
import type { Rule } from "../Rule.ts"
import { isRelative, packageOf, type Workspace } from "../Workspace.ts"

/** What runs has an order: no module and no package reaches itself. */
export const runtimeCycles: Rule = {
  name: "runtime-cycles",
  sentence: "no cycle of run-time imports between modules or packages",
  find: (workspace) => [
    ...cycles(moduleGraph(workspace)).map((loop) => ({ where: loop[0] ?? "", message: describe(loop) })),
    ...cycles(packageGraph(workspace)).map((loop) => ({ where: loop[0] ?? "", message: describe(loop) }))
  ]
}

type Graph = ReadonlyMap<string, ReadonlySet<string>>

const describe = (loop: ReadonlyArray<string>): string => `imports itself: ${[...loop, loop[0]].join(" → ")}`

const moduleGraph = (workspace: Workspace): Graph => {
  const byFile = new Map(workspace.packages.flatMap((from) => from.modules.map((module) => [module.file, module.path])))
  const graph = new Map<string, Set<string>>()
  for (const from of workspace.packages) {
    for (const module of from.modules) {
      const edges = new Set<string>()
      for (const { specifier, typeOnly } of module.imports) {
        if (typeOnly) continue
        const target = byFile.get(resolve(workspace, module.file, specifier) ?? "")
        if (target !== undefined) edges.add(target)
      }
      graph.set(module.path, edges)
    }
  }
  return graph
}

const resolve = (workspace: Workspace, file: string, specifier: string): string | undefined => {
  if (isRelative(specifier)) return join(dirname(file), specifier)
  const to = packageOf(workspace, specifier)
  if (to === undefined) return undefined
  return join(to.directory, "src", specifier === to.name ? "index.ts" : `${specifier.slice(to.name.length + 1)}.ts`)
}

// Tests and their dependencies are left out: the test kit may speak of the domain that it tests.
const packageGraph = (workspace: Workspace): Graph => {
  const graph = new Map<string, Set<string>>()
  for (const from of workspace.packages) {
    const named = [
      ...Object.keys(from.manifest.dependencies ?? {}),
      ...Object.keys(from.manifest.peerDependencies ?? {})
    ]
    const imported = from.modules.filter((module) => module.scope === "src").flatMap((module) =>
      module.imports.filter((one) => !one.typeOnly).map((one) => one.specifier)
    )
    const edges = new Set<string>()
    for (const specifier of [...named, ...imported]) {
      const to = isRelative(specifier) ? undefined : packageOf(workspace, specifier)
      if (to !== undefined && to !== from) edges.add(to.name)
    }
    graph.set(from.name, edges)
  }
  return graph
}

// One loop for each strongly connected component, found from its first node in name order.
const cycles = (graph: Graph): Array<Array<string>> => {
  const loops: Array<Array<string>> = []
  const seen = new Set<string>()
  for (const start of [...graph.keys()].sort()) {
    if (seen.has(start)) continue
    const loop = shortestLoop(graph, start)
    if (loop !== undefined) {
      for (const node of loop) seen.add(node)
      loops.push(loop)
    }
  }
  return loops
}

const shortestLoop = (graph: Graph, start: string): Array<string> | undefined => {
  const cameFrom = new Map<string, string>()
  const queue = [start]
  for (let node = queue.shift(); node !== undefined; node = queue.shift()) {
    for (const next of graph.get(node) ?? []) {
      if (next === start) {
        const loop = [node]
        for (let back = node; back !== start;) {
          back = cameFrom.get(back) ?? start
          loop.unshift(back)
        }
        return loop
      }
      if (!cameFrom.has(next)) {
        cameFrom.set(next, node)
        queue.push(next)
      }
    }
  }
  return undefined
}
