// SPDX-License-Identifier: Apache-2.0
// Removal of flows: which ones a selection includes, what is forgotten with them, and what becomes of everything that is
// under way for them.
import { describe, expect, it } from 'vitest';
import { type FlowSelection, reversed } from '../../../services/dataplane/core/facts.js';
import { selects } from '../../../services/dataplane/core/removal.js';
import { flowKeyOf, parseAddress, parsePrefix } from '../../../services/shared/address.js';
import { type ActionOf, Desk, flow, keyOf } from './desk.js';

const [f, g] = [flow(1), flow(2)];
/** Both of them. */
const all: FlowSelection = {};
const between = (one: string, other: string): FlowSelection => ({
  between: [parsePrefix(one), parsePrefix(other)],
});
/** Only f. */
const onlyF = between('10.1.0.1/32', '10.2.0.1/32');

/** A desk with a tunnel for each flow: the peer answered, and a packet of it was received. */
const withTunnels = (flows = [f, g], options = {}) => {
  const desk = new Desk(options);
  desk.miss(...flows);
  desk.install(desk.last, 1n);
  for (const [i, spi] of desk.last.spis.entries()) desk.seen(flows[i] as string, spi);
  desk.audited.length = 0;
  return desk;
};

describe('a selection', () => {
  const flowOf = (source: string, destination: string) =>
    flowKeyOf({ source: parseAddress(source), destination: parseAddress(destination) });
  const tunnel = flowOf('10.1.0.1', '10.2.0.1');

  it('without a condition includes every flow', () => {
    expect(selects({})(tunnel, 3)).toBe(true);
  });

  it('of a peer includes only flows with that peer', () => {
    expect([selects({ peer: 3 })(tunnel, 3), selects({ peer: 3 })(tunnel, 2)]).toEqual([true, false]);
  });

  it.each([
    ['10.1.0.1/32', '10.2.0.1/32', true],
    ['10.2.0.1/32', '10.1.0.1/32', true],
    ['10.1.0.0/24', '10.2.0.0/16', true],
    ['10.1.0.2/32', '10.2.0.1/32', false],
    ['10.1.0.1/32', '10.1.0.1/32', false],
    ['10.0.0.0/8', '10.0.0.0/8', true],
    ['::/0', '::/0', false],
  ])('between %s and %s includes the flow from 10.1.0.1 to 10.2.0.1: %s', (one, other, isSelected) => {
    expect(selects(between(one, other))(tunnel, 0)).toBe(isSelected);
    expect(selects({ peer: 1, ...between(one, other) })(tunnel, 0)).toBe(false);
  });

  it('of IPv6 networks includes flows of their family only', () => {
    const six = selects(between('2001:db8::/32', '2001:db8::/32'));
    expect([six(flowOf('2001:db8::1', '2001:db8::2'), 0), six(tunnel, 0)]).toEqual([true, false]);
  });
});

describe('a removal', () => {
  it('removes exactly the selected tunnels, is audited for each, and is answered when the engine has done it', () => {
    const desk = withTunnels();
    desk.hold = ['remove'];
    const request = desk.request({ type: 'removeReceived', selection: onlyF });
    expect(desk.replies.has(request)).toBe(false);
    expect(desk.taken('remove')).toEqual({ type: 'remove', request, flows: [f] });
    desk.on({ type: 'removed', request });
    expect(desk.replies.get(request)).toEqual({ removed: 1 });
    expect(desk.audited).toEqual([{ type: 'tunnelDown', flow: f, peer: 0, why: 'removed' }]);
    const { keyedFlows, inboundFlows } = desk.arbiter.gauges();
    expect([keyedFlows, inboundFlows, desk.arbiter.counters.removed]).toEqual([1, 1, 1]);
    expect(desk.arbiter.offersOf(reversed(f))).toEqual([]);
  });

  it('of nothing is answered at once and gives the engine no command', () => {
    const desk = withTunnels([g]);
    desk.hold = ['remove'];
    expect(desk.remove(onlyF)).toBe(0);
    expect(desk.remove({ peer: 1 })).toBe(0);
    expect([desk.held, desk.audited]).toEqual([[], []]);
  });

  it('fails with the error of an engine that was stopped', () => {
    const desk = withTunnels();
    desk.hold = ['remove'];
    const request = desk.request({ type: 'removeReceived', selection: all });
    desk.on({ type: 'removeFailed', request, error: new Error('stopped') });
    expect(desk.replies.get(request)).toBe('fault');
  });

  it('leaves nothing behind', () => {
    const desk = withTunnels([f, g, flow(3)]);
    desk.miss(flow(4));
    desk.refuse(desk.last);
    desk.miss(flow(5));
    expect(desk.remove(all)).toBe(5);
    desk.pass(60_000);
    const { wants, keyedFlows, inboundFlows, heldDownFlows, unansweredFlows } = desk.arbiter.gauges();
    expect([wants, keyedFlows, inboundFlows, heldDownFlows, unansweredFlows]).toEqual([0, 0, 0, 0, 0]);
    expect(desk.remove(all)).toBe(0);
  });

  it('is followed by a new tunnel at the next packet, with a fresh SPI', () => {
    const desk = withTunnels([f]);
    const [before] = desk.last.spis;
    desk.remove(all);
    desk.miss(f);
    expect(desk.published).toHaveLength(2);
    expect(desk.last.spis).not.toContain(before);
    expect(desk.install(desk.last, 2n)).toEqual(['installed']);
    expect(desk.audited.at(-1)).toMatchObject({ type: 'tunnelUp', flow: f });
  });

  it('ends a hold-down, so that the next packet requests a tunnel at once', () => {
    const desk = new Desk();
    desk.miss(f);
    desk.refuse(desk.last);
    expect(desk.remove(all)).toBe(1);
    desk.miss(f);
    expect(desk.published).toHaveLength(2);
  });

  it('of a flow of the node file requests it again at once, after the engine has removed it', () => {
    const desk = withTunnels([f], { configured: [{ flow: f, peer: 0 }] });
    desk.hold = ['remove', 'offer'];
    desk.request({ type: 'removeReceived', selection: all });
    expect(desk.held.map(({ type }) => type)).toEqual(['remove', 'offer']);
  });

  it('frees a rotation from waiting for the removed flows', () => {
    const desk = withTunnels();
    expect(desk.rotate()).toBeUndefined();
    desk.pass(1000);
    expect(desk.rotate()).toEqual({ unanswered: 2, drainLeftMs: 0 });
    desk.remove(all);
    expect(desk.rotate()).toBeUndefined();
  });

  it('lets a peer start again with any number of a key', () => {
    const desk = withTunnels([f]);
    desk.remove(all);
    expect(desk.accept(f, 1n).outcome).toBe('installed');
  });
});

describe('what is under way for a removed flow', () => {
  it('a late answer installs nothing, and the next exchange is another one', () => {
    const desk = new Desk();
    desk.miss(f);
    const before = desk.last;
    desk.remove(all);
    expect(desk.install(before, 1n)).toEqual(['notInFlight']);
    desk.miss(f);
    expect(desk.last.exchange).not.toBe(before.exchange);
    expect(desk.install(before, 1n)).toEqual(['notInFlight']);
    expect(desk.install(desk.last, 2n)).toEqual(['installed']);
  });

  it('offers that are being made are not published; the other flows of the exchange get another one at once', () => {
    const desk = new Desk();
    desk.hold = ['offer'];
    desk.miss(f, g);
    desk.remove(onlyF);
    const overtaken = desk.taken('offer');
    expect(overtaken.flows).toEqual([f, g]);
    desk.make(overtaken);
    expect(desk.published).toEqual([]);
    expect(desk.withdrawn.map(({ inbound }) => inbound)).toEqual([reversed(f), reversed(g)]);
    const next = desk.taken('offer') as ActionOf<'offer'>;
    expect(next.flows).toEqual([g]);
    desk.make(next);
    expect(desk.published.map(({ flows }) => flows)).toEqual([[g]]);
  });

  it('an accept whose offers are being made fails, and its offers are withdrawn', () => {
    const desk = new Desk({ maxTunnels: new Map([[0, 10]]) });
    desk.hold = ['offerInReturn'];
    const request = desk.acceptReceived([f], [keyOf(1n)]);
    desk.miss(f);
    desk.remove(all);
    const spis = desk.makeInReturn(desk.taken('offerInReturn'));
    expect(desk.replies.get(request)).toBe('FLOW_REMOVED');
    expect(desk.withdrawn).toEqual([{ inbound: reversed(f), spi: spis[0] }]);
    expect(desk.arbiter.gauges().keyedFlows).toBe(0);
    expect(desk.arbiter.tunnelsLeft(0)?.left).toBe(10);
  });

  it('an accept whose keys are being installed fails, and its offers are withdrawn', () => {
    const desk = new Desk();
    desk.hold = ['install'];
    const request = desk.acceptReceived([f], [keyOf(1n)]);
    const { rows } = desk.taken('install');
    const [offer] = desk.arbiter.offersOf(reversed(f));
    desk.remove(all);
    desk.on({ type: 'installed', request, results: rows.map(() => desk.installResult) });
    expect(desk.replies.get(request)).toBe('FLOW_REMOVED');
    expect(desk.withdrawn).toEqual([{ inbound: reversed(f), spi: offer?.spi }]);
    expect(desk.arbiter.gauges()).toMatchObject({ keyedFlows: 0, inboundFlows: 0 });
  });

  it('a key that is being installed is not installed again when the engine was busy', () => {
    const desk = new Desk();
    desk.miss(f);
    desk.hold = ['install', 'retryLater'];
    const request = desk.request({
      type: 'installReceived',
      exchange: desk.last.exchange,
      peer: 0,
      flows: [f],
      keys: [keyOf(1n)],
    });
    desk.taken('install');
    desk.remove(all);
    desk.on({ type: 'retryDue', request });
    expect(desk.held).toEqual([]);
    expect(desk.replies.has(request)).toBe(true);
  });

  it('events of the engine about the removed flow change nothing', () => {
    const desk = withTunnels([f]);
    const [spi] = desk.last.spis as [number];
    desk.remove(all);
    desk.seen(f, spi);
    desk.on({ type: 'worn', flow: f, peer: 0, stopped: true });
    desk.pass(5000);
    expect(desk.published).toHaveLength(1);
    expect(desk.audited).toHaveLength(1);
  });
});
