// SPDX-License-Identifier: Apache-2.0
// A changed node file in a running dataplane, over a real bus.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { contracts } from '../../../services/shared/contracts.js';
import { until } from '../../e2e/namespace.js';
import { longMs } from '../shared/waiting.js';
import { missed, type Rig, startRig } from './rig.js';

let rig: Rig;
beforeEach(async () => {
  rig = await startRig();
});
afterEach(() => rig?.close());

const state = { fileDigest: 'ab'.repeat(32), restartKeys: ['engine.lcores'], refusal: '', readMs: 0n };
/** Sends the node file of the rig after a change. */
const reload = (change: (text: string) => string, checkOnly = false) =>
  rig.operator.request(
    contracts.dataplaneReload,
    { config: change(rig.nodeFile), state, author: 'operator', checkOnly },
    longMs,
  );
const status = () => rig.operator.request(contracts.dataplaneStatus, {}, longMs);
const withC = (text: string) =>
  text.replace('peers: {', 'peers: { c: { endpoint: "127.0.0.1:3", vips: [10.3.0.0/24] },');
const toC = {
  ...missed(1)[0],
  flow: Buffer.from(missed(1)[0]?.flow ?? []),
  peer: 1,
  type: 'missed' as const,
};
toC.flow[30] = 0;
toC.flow[29] = 3;

describe('a dataplane that runs', () => {
  it('exchanges keys with a peer that is added, under a number of its own', async () => {
    expect(await reload(withC)).toEqual({ code: '', message: '' });
    const topology = rig.engine.called('reconfigure')[0]?.about as { peers: { name: string }[] };
    expect(topology.peers.map(({ name }) => name)).toEqual(['b', 'c']);
    rig.engine.emit(toC);
    await until('a key exchange with c is wanted', () =>
      rig.keyexchange.wants.some(({ want }) => want.peer === 'c'),
    );
    expect((await status()).terms.map(({ name }) => name)).toEqual(['b', 'c']);
    expect((await status()).config).toMatchObject({ ...state, readMs: expect.any(BigInt) });
  });

  it('removes the flows of a peer that is removed, and does not know it any more', async () => {
    rig.engine.emit(...missed(1, 2));
    await until('they are wanted', () => rig.keyexchange.wants.length > 0);
    const without = (text: string) =>
      text.replace(/b: \{ endpoint: "127.0.0.1:2", vips: \[10.2.0.0\/24\] \}/, '');
    expect(await reload(without)).toEqual({ code: '', message: '' });
    await until('the flows are removed', () => rig.engine.called('remove').length > 0);
    expect((await status()).terms).toEqual([]);
    const before = rig.keyexchange.wants.length;
    rig.engine.emit(...missed(3));
    await status();
    expect(rig.keyexchange.wants.length).toBe(before);
  });

  it('checks without a change, and refuses what is not valid', async () => {
    expect(await reload(withC, true)).toEqual({ code: '', message: '' });
    expect(rig.engine.called('reconfigure')).toEqual([]);
    const wrong = await reload((text) => withC(text).replace('10.3.0.0/24', '10.3.0.1/24'));
    expect(wrong).toMatchObject({ code: 'CONFIG_INVALID', message: expect.stringContaining('a prefix') });
    expect((await status()).config?.refusal).toBe('CONFIG_INVALID');
    expect((await status()).terms.map(({ name }) => name)).toEqual(['b']);
  });

  it('takes sampling, log level and the schedule of rotations from it', async () => {
    const before = await status();
    await reload((text) =>
      text.replace(
        'stateDir:',
        'sampling: { egressLog2: 3 }, log: { level: error }, keys: { rotateEvery: off }, stateDir:',
      ),
    );
    const after = await status();
    expect([before.samplingLog2, after.samplingLog2, after.nextRotationMs]).toEqual([undefined, 3, 0n]);
    expect(rig.engine.called('reconfigure')).toEqual([]);
  });

  it('tries again while the engine is busy', async () => {
    rig.engine.busy = 3;
    expect(await reload(withC)).toEqual({ code: '', message: '' });
    expect(rig.engine.called('reconfigure')).toHaveLength(4);
  });
});
