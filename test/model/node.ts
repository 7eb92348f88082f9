// SPDX-License-Identifier: Apache-2.0
// A whole node: a dataplane and two replicas of keyexchange on a bus. What an adapter decides nothing about is left out:
// nothing is encoded, and a seal only guards against replays.
import { type FlowWanted, Mode, type Offer } from '../../proto/gen/bus.js';
import type { MultiTunnelRequest } from '../../proto/gen/psp_gateway.js';
import { requestOf } from '../../services/keyexchange/core/peer_request.js';
import type { Peer, Rules } from '../../services/keyexchange/core/rules.js';
import { type FlowKey, flowOf, formatAddress, parsePrefix } from '../../services/shared/address.js';
import { ourselves, VipTable } from '../../services/shared/vip_table.js';
import { Channel } from './channel.js';
import { Dataplane } from './dataplane.js';
import { type Packet, type Sealed, Violation } from './engine.js';
import { Replica } from './keyexchange.js';
import { type Answered, times } from './messages.js';
import type { World } from './world.js';

export class Node {
  dataplane: Dataplane | undefined;
  replicas: Replica[] = [];
  readonly bus: Channel;
  /** By how much the clock of this machine differs from the right time. */
  clockErrorMs = 0;
  /** As NVIDIA's application it numbers no offer, sends no epoch, sets no deadlines, and knows no greetings. */
  plain = false;
  /** Time between rotations on schedule. */
  rotateEveryMs: number | undefined;
  peer!: Node;
  rules!: Rules;
  configured: { flow: FlowKey; peer: number }[] = [];

  constructor(
    readonly world: World,
    readonly name: string,
    /** The engine starts IVs at 0 with each install. */
    readonly restartsIvs: boolean,
    readonly address: Buffer,
    readonly vips: string,
    /** To the peer: gRPC, and packets. */
    readonly grpc: Channel,
    readonly wire: Channel,
  ) {
    this.bus = new Channel(world, 2);
  }

  connect(peer: Node): void {
    this.peer = peer;
    const underlay = [parsePrefix('192.0.2.0/24')];
    const rule: Peer = {
      name: peer.name,
      endpoint: '',
      identity: '',
      underlay,
      versions: [0],
      mode: Mode.MODE_TUNNEL,
      insecure: false,
      mayRotate: false,
    };
    this.rules = {
      node: this.name,
      outerFamily: 4,
      outerAddress: formatAddress(this.address),
      vips: new VipTable([
        [ourselves, [parsePrefix(this.vips)]],
        [peer.name, [parsePrefix(peer.vips)]],
      ]),
      peers: new Map([[peer.name, rule]]),
      exchangeMs: times.exchangeMs,
      callMs: times.callMs,
      limits: { requestsPerSecond: 1000, tunnelsPerSecond: 10_000, tunnelsPerRequest: 1024, connections: 16 },
    };
  }

  get unixMs(): number {
    return 1_700_000_000_000 + Math.floor(this.world.nowMs) + this.clockErrorMs;
  }

  get peerRule(): Peer {
    return this.rules.peers.get(this.peer.name) as Peer;
  }

  start(): void {
    this.replicas = [new Replica(this), new Replica(this)];
    this.startDataplane();
  }

  startDataplane(): void {
    this.dataplane?.end();
    const dataplane = new Dataplane(this);
    this.dataplane = dataplane;
    // The bus is connected a moment later.
    this.world.after(this.world.random() * 20, () => {
      if (this.dataplane === dataplane && !this.bus.down) this.busConnected(true);
    });
  }

  stopDataplane(): void {
    this.dataplane?.end();
    this.dataplane = undefined;
  }

  /** A replica ends, and starts again. */
  restartReplica(index: number): void {
    this.replicas[index]?.end();
    this.replicas[index] = new Replica(this);
  }

  busConnected(connected: boolean): void {
    this.bus.down = !connected;
    const { dataplane } = this;
    if (dataplane === undefined) return;
    if (connected) {
      const { epoch } = dataplane.arbiter;
      for (const index of this.replicas.keys()) this.bus.send(() => this.replicas[index]?.started(epoch));
    }
    dataplane.on({ type: 'bus', connected });
  }

  /** An event for a queue group: one replica receives it. */
  toKeyExchange(deliver: (replica: Replica) => void): void {
    this.bus.send(() => {
      const replica = this.world.oneOf(this.replicas);
      if (replica) deliver(replica);
    });
  }

  wanted(exchange: bigint, epoch: bigint, flows: readonly FlowKey[], offers: Offer[]): FlowWanted {
    return {
      exchange,
      epoch,
      publishedNs: 0n,
      timeoutMs: undefined,
      reason: 0,
      peer: this.peer.name,
      flows: flows.map((key) => {
        const { source, destination } = flowOf(key);
        return { source: Buffer.from(source), destination: Buffer.from(destination) };
      }),
      offers,
      seal: undefined,
    };
  }

  call(request: MultiTunnelRequest, timeoutMs: number, ended: (result: Answered | 'timeout') => void): void {
    this.grpc.request<Answered>(
      (answer) => this.world.oneOf(this.peer.replicas)?.requested(request, timeoutMs, answer),
      timeoutMs,
      (result) => ended(result === 'timeout' ? 'timeout' : result.answer),
    );
  }

  /** Sends a greeting of the dataplane; its answer arrives in whatever dataplane runs then. */
  greet(epoch: bigint, spis: readonly number[]): void {
    if (this.plain) return;
    const publishedMs = this.world.nowMs;
    this.toKeyExchange((replica) => {
      if (this.world.nowMs - publishedMs > 500) return;
      replica.greet(epoch, spis);
    });
  }

  /** This gateway, although authenticated, requests keys for a flow that does not belong to it. */
  ask(flow: FlowKey): void {
    const offer: Offer = {
      spi: 1,
      version: 0,
      number: 1n,
      cookie: 0n,
      address: this.address,
      mac: Buffer.of(2, 0, 0, 0, 0, 1),
      mode: Mode.MODE_TUNNEL,
    };
    const want = this.wanted(1n, 1n, [flow], [offer]);
    this.call(requestOf(want, [Buffer.alloc(16)], this.peerRule, 1n), times.callMs, (result) => {
      if (result !== 'timeout' && 'response' in result)
        throw new Violation('keys of a foreign VIP were given away');
    });
  }

  /** A packet of a host behind this gateway. */
  send(packet: Packet): void {
    if (this.dataplane) this.dataplane.engine.send(packet);
    else packet.dropped = 'no dataplane';
  }

  transmit(sealed: Sealed): void {
    this.wire.send(() => {
      const { dataplane } = this.peer;
      if (dataplane) dataplane.engine.receive(sealed);
      else sealed.packet.dropped = 'no dataplane';
    });
  }
}
