// SPDX-License-Identifier: Apache-2.0
// The rules of docs/design.md ("One owner of state", "Recovery", "Keys"), each with the change of the compiled code that
// takes it out. Rules of the engine are taken out of the model's engine, because the native one has tests of its own.

/** Replaces text that occurs exactly once in a file under dist/. */
export interface Patch {
  file: string;
  from: string;
  to: string;
}

export interface Mutation {
  /** What holds no more. */
  without: string;
  patches: readonly Patch[];
  /** Why no schedule can notice it. */
  unnoticed?: string;
}

const dataplane = 'services/dataplane/core';
const keyexchange = 'services/keyexchange/core';
const engine = 'test/model/engine.js';

const patch = (file: string, from: string, to: string): Patch => ({ file, from, to });
const mutation = (without: string, ...patches: Patch[]): Mutation => ({ without, patches });

/** Patches after which `keyed(flow, nextMs, false)` leaves the exchange of a want in flight. */
const keyedWithoutEnd = [
  patch(`${dataplane}/wants.js`, 'keyed(flow, nextMs) {', 'keyed(flow, nextMs, ends = true) {'),
  patch(
    `${dataplane}/wants.js`,
    'want.keyed();',
    'const { exchange } = want; want.keyed(); if (!ends && exchange !== undefined) { want.exchange = exchange; return; }',
  ),
];

export const mutations: readonly Mutation[] = [
  // Offers and exchanges.
  mutation(
    'a fresh SPI for every attempt',
    patch(
      engine,
      'return inbound.map((flow) => {',
      'return inbound.map((flow) => { const last = this.#inbound.get(flow)?.at(-1)?.key; if (last?.generation === generation) return last;',
    ),
  ),
  mutation(
    'the highest number wins',
    patch(`${dataplane}/egress_keys.js`, 'if (number !== undefined && number <= old.number)', 'if (false)'),
  ),
  mutation(
    'an older offer is answered all the same',
    patch(
      `${dataplane}/installs.js`,
      'if (rows.length === 0)\n            return this.#reply(install);',
      "if (rows.length === 0) { this.#pending.delete(install.request); return [{ type: 'fail', request: install.request, error: new PspError('SERVICE_DOWN') }]; }",
    ),
  ),
  mutation(
    'an install counts only while its exchange is in flight',
    patch(
      `${dataplane}/arbiter.js`,
      'if (known === undefined || !this.#wants.isInFlight(flow, exchange)) {',
      'if (known === undefined) {',
    ),
  ),
  mutation(
    'an install ends its exchange',
    ...keyedWithoutEnd,
    patch(
      `${dataplane}/arbiter.js`,
      'this.#wants.keyed(flow, nowMs);',
      'this.#wants.keyed(flow, nowMs, false);',
    ),
  ),
  {
    ...mutation(
      'an accept ends the exchange in flight',
      ...keyedWithoutEnd,
      patch(
        `${dataplane}/arbiter.js`,
        'this.#wants.keyed(flows[row]);',
        'this.#wants.keyed(flows[row], undefined, false);',
      ),
    ),
    unnoticed: 'numbers and greetings cover it; test/core/dataplane/hazards.test.ts tests it',
  },
  mutation(
    'an accept satisfies the want',
    patch(`${dataplane}/arbiter.js`, 'this.#wants.keyed(flows[row]);', ';'),
  ),
  mutation(
    'an accept is never sent again after a timeout',
    patch(
      `${keyexchange}/answering.js`,
      "case 'failed':",
      "case 'failed': if (fact.error.code === 'SERVICE_TIMEOUT' && !this.#request(fact.id).resent) { this.#request(fact.id).resent = true; return this.#accept(fact.id, nowMs); }",
    ),
  ),
  mutation(
    'an accept is sent once more after STALE',
    patch(`${keyexchange}/answering.js`, 'if (request.resent)', 'if (true)'),
  ),
  mutation(
    'a message of another epoch is STALE',
    patch(`${dataplane}/arbiter.js`, 'return epoch === this.epoch;', 'return true;'),
  ),
  mutation(
    'a message is opened once',
    patch('test/model/dataplane.js', 'if (this.#opened.has(id))', 'if (false)'),
  ),
  mutation(
    'a want is repeated until the flow has a key',
    patch(`${dataplane}/want.js`, 'const repeatMs = 1000;', 'const repeatMs = 1e9;'),
  ),
  {
    ...mutation(
      'a want that is older than half of its timeout is dropped',
      patch(
        `${keyexchange}/peer_request.js`,
        'ageMs(want, nowNs) <= timeoutMs(want, rules) / 2',
        'nowNs >= 0n || want === rules',
      ),
    ),
    unnoticed: 'it matters under load only; test/core/keyexchange tests it',
  },
  mutation(
    'the exchange of a want that timed out stays in flight',
    patch(`${dataplane}/wants.js`, 'if (want.attemptEndMs > nowMs && this.#connected)', 'if (false)'),
  ),
  mutation(
    'an unknown outcome withdraws nothing',
    patch(`${keyexchange}/requesting.js`, 'if (!isRefusal(code))', 'if (false)'),
  ),
  mutation(
    'keys are given for the VIPs of the two gateways only',
    patch(`${keyexchange}/acceptance.js`, 'if (rules.vips.ownerOf(theirs) !== peer.name) {', 'if (false) {'),
    patch(`${keyexchange}/acceptance.js`, 'if (rules.vips.ownerOf(ours) !== ourselves)', 'if (false)'),
  ),
  // Recovery.
  mutation(
    'a dataplane that starts greets its peers',
    patch(`${dataplane}/greetings.js`, "state: 'unanswered',", "state: 'answered',"),
  ),
  mutation(
    'a new epoch renews all flows with the peer',
    patch(
      `${dataplane}/recovery.js`,
      'const flows = this.keys.ofOtherEpochs(peer, epoch);',
      'const flows = [];',
    ),
  ),
  mutation(
    'attempts in flight to an earlier start of the peer are given up',
    patch(`${dataplane}/wants.js`, 'if (restarted)\n                want.exchange = undefined;', ';'),
  ),
  mutation(
    'unknown SPIs are reported to the peer',
    patch(`${dataplane}/recovery.js`, 'this.#greetings.unknownSpis(packets, nowMs);', ';'),
  ),
  mutation(
    'an SPI that a greeting names renews the flow',
    patch(`${dataplane}/recovery.js`, 'if (spis.length === 0 ||', 'if (true ||'),
  ),
  // Keys.
  mutation(
    'a flow has at most eight SPIs',
    patch(engine, 'if (old.length >= spisPerFlow) {', 'if (false) {'),
  ),
  mutation(
    'the ninth SPI never evicts the newest one that is in use',
    patch(engine, 'this.#end((old[0] === kept ? old[1] : old[0]));', 'this.#end(kept ?? old[0]);'),
  ),
  mutation(
    'an SPI is retired a second after traffic moved to a newer one',
    patch(engine, 'nowMs - supersededMs < retireMs', 'false'),
  ),
  mutation(
    'an SPI is not retired while packets arrive under it',
    patch(engine, 'if (!seen || nowMs >= lastSeenMs + retireMs)', 'if (true)'),
  ),
  mutation(
    'a rotation waits until every offer was answered',
    patch(
      `${dataplane}/rotation.js`,
      'const unanswered = isGraceOver ? unproven.unreachable : unproven.flows;',
      'const unanswered = 0;',
    ),
  ),
  mutation(
    'a rotation waits for a while after the last answer',
    patch(
      `${dataplane}/rotation.js`,
      'const drainLeftMs = Math.max(0, this.#lastProofMs + this.times.drainMs - nowMs);',
      'const drainLeftMs = 0;',
    ),
  ),
  mutation(
    'only an answer to an offer of the active generation counts',
    patch(
      `${dataplane}/arbiter.js`,
      'const current = known?.generation === this.generation;',
      'const current = true;',
    ),
  ),
  mutation(
    'an accept proves nothing by itself',
    patch(
      `${dataplane}/arbiter.js`,
      'this.counters.accepted += keys.length;',
      'for (const [i, key] of keys.entries()) this.#answered(flows[i], key, current, nowMs); this.counters.accepted += keys.length;',
    ),
  ),
  mutation(
    'a peer that numbers no offers proves an offer by a packet',
    patch(`${dataplane}/inbound.js`, "numbered ? 'nothing' : 'packet'", "'nothing'"),
  ),
  mutation(
    'offers in return of an older generation are made anew',
    patch(
      `${dataplane}/arbiter.js`,
      'const current = generation >= this.generation;\n        for',
      'const current = true;\n        for',
    ),
  ),
  mutation(
    'offers that a rotation overtook are not published',
    patch(`${dataplane}/arbiter.js`, 'if (current && inFlight.length > 0) {', 'if (inFlight.length > 0) {'),
  ),
  mutation(
    'IVs never go down while a dataplane runs',
    patch(engine, 'Math.max(this.#iv, this.unixMs() * ivsPerMs)', 'this.unixMs() * ivsPerMs'),
  ),
  mutation(
    'IVs begin at the time of the install',
    patch(engine, 'Math.max(this.#iv, this.unixMs() * ivsPerMs)', 'this.#iv'),
  ),
];

/** @throws Error if the text to be replaced does not occur exactly once. */
function patched(text: string, { file, from, to }: Patch): string {
  const parts = text.split(from);
  if (parts.length !== 2) {
    throw new Error(
      `${file} contains \`${from}\` ${parts.length - 1} times instead of once; correct the patch in test/model/mutations.ts`,
    );
  }
  return parts.join(to);
}

/** @param read returns the text of a file. @returns the texts of the files that the mutation changes. */
export function filesWithout({ patches }: Mutation, read: (file: string) => string): Map<string, string> {
  const files = new Map<string, string>();
  for (const patch of patches)
    files.set(patch.file, patched(files.get(patch.file) ?? read(patch.file), patch));
  return files;
}
