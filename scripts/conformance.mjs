// Starts the origin of the tests and the proxy on free ports, runs the tests, and prints the results.
//
// Usage: conformance.mjs SUITE PROXY [CASE...]    with REDIS_URL set; RESULTS=file.json keeps the results.

import { spawn } from 'node:child_process'
import fs from 'node:fs'
import http from 'node:http'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { pathToFileURL } from 'node:url'

const [suite, proxy, ...only] = process.argv.slice(2)
const part = name => import(pathToFileURL(path.resolve(suite, name)))
const kinds = ['required', 'optimal', 'check']
const marks = { '✅': 'holds', Y: 'holds', '⛔️': 'fails', '⚠️': 'fails', N: 'fails', '⚪️': 'depends', '🔹': 'set-up', '↻': 'retried' }

const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'conformance-'))
const programs = []
process.on('exit', () => {
  programs.forEach(program => program.kill())
  fs.rmSync(directory, { recursive: true })
})
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1))

const origin = await freePort()
await start('node', ['--no-warnings', path.join(suite, 'server/server.mjs')], {
  npm_config_protocol: 'http', npm_config_port: origin, npm_config_pidfile: path.join(directory, 'pid')
})
const base = (await start(proxy, [], { ORIGIN: `http://127.0.0.1:${origin}`, LISTEN: '127.0.0.1:0' })).split(' ')[0]
// The exit handler ends the programs.
process.exit(report(await results(base)))

// Runs all cases, or the given ones, through the proxy.
async function results (base) {
  const { default: suites } = await part('tests/index.mjs')
  const { default: fetch } = await part('node_modules/node-fetch/lib/index.mjs').catch(() => part('../node-fetch/lib/index.mjs'))
  const { runTests, getResults } = await part('client/runner.mjs')
  const { determineTestResult } = await part('lib/display.mjs')
  // Keeps connections alive, as browsers do.
  const connections = new http.Agent({ keepAlive: true })
  const chosen = suites.map(({ tests, ...rest }) => ({
    ...rest, tests: tests.filter(test => only.length === 0 || only.includes(test.id))
  }))
  chosen.forEach(({ tests }) => tests.forEach(test => { test.dump = only.length > 0 }))
  await runTests(chosen, (url, init) => fetch(url, { agent: connections, ...init }), false, base)
  connections.destroy()
  const details = getResults()
  if (process.env.RESULTS) fs.writeFileSync(process.env.RESULTS, JSON.stringify(details, null, 2) + '\n')
  const cases = chosen.flatMap(({ tests }) => tests.filter(test => !test.browser_only))
  return cases.map(test => ({
    name: test.id,
    kind: test.kind ?? 'required',
    outcome: marks[determineTestResult(suites, test.id, details, only.length === 0)[2]] ?? 'broken',
    why: details[test.id]?.[1] ?? ''
  }))
}

// Prints a table and the names of the cases. Gives the exit status.
function report (results) {
  const known = new Map(fs.readFileSync(new URL('conformance.txt', import.meta.url), 'utf8').split('\n')
    .filter(line => line && !line.startsWith('#')).map(line => line.split(/\s+## /)))
  const outcomes = ['holds', ...new Set(Object.values(marks).slice(2)), 'broken']
  const row = cells => console.log(cells.map((cell, n) => n ? String(cell).padStart(9) : cell.padEnd(9)).join(''))
  row(['', 'cases', ...outcomes])
  for (const kind of kinds) {
    const of = results.filter(result => result.kind === kind)
    row([kind, of.length, ...outcomes.map(outcome => of.filter(result => result.outcome === outcome).length)])
  }
  const others = results.filter(result => result.outcome !== 'holds')
  const fresh = others.filter(result => !known.has(result.name))
  const gone = results.filter(result => result.outcome === 'holds' && known.has(result.name))
  console.log(`\n${others.length - fresh.length} that do not hold are listed with reasons in scripts/conformance.txt`)
  gone.forEach(({ name }) => console.log(`listed, and holds: ${name}`))
  fresh.forEach(({ name, kind, outcome, why }) => console.log(`not listed: ${name} (${kind}) ${outcome}: ${why}`))
  return fresh.length > 0 ? 1 : 0
}

function freePort () {
  return new Promise(resolve => {
    const probe = net.createServer().listen(0, () => {
      const { port } = probe.address()
      probe.close(() => resolve(port))
    })
  })
}

// Starts a program. Gives the first line that it prints.
function start (command, args, env) {
  const program = spawn(command, args, { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'inherit'] })
  programs.push(program)
  const lines = createInterface({ input: program.stdout })
  return new Promise((resolve, reject) => {
    lines.once('line', resolve)
    program.once('error', reject)
    program.once('exit', code => reject(new Error(`${command} ended with ${code}`)))
  })
}
