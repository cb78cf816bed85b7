/** How many virtual functions a guest is given, and which addresses they have. */
import { describe, expect, it } from 'vitest';
import { formatMac } from '../../devices/ethernet/addresses.js';
import { functionsOf, nicChoiceOf, stationsOf } from '../../vmm/process/nic-options.js';
import { settle, type VmmOptions } from '../../vmm/process/options.js';

const stations = (text: string, functions: number): readonly string[] | string => {
  const found = stationsOf(text, functions);
  return typeof found === 'string' ? found : found.map((mac) => formatMac(Uint8Array.from(mac)));
};

describe('the kind of a NIC', () => {
  it('is none, one function, or one to eight', () => {
    expect(['none', 'vf', 'vf=1', 'vf=8'].map(functionsOf)).toEqual([0, 1, 1, 8]);
    for (const kind of ['', 'VF', 'vf=', 'vf=0', 'vf=9', 'vf=08', 'vf=2 ', 'vf=-1', 'virtio=2', 'vf=1e0']) {
      expect(functionsOf(kind), kind).toBeUndefined();
    }
  });
});

describe('the properties of a NIC', () => {
  it('follow the kind, each once, with one of its values', () => {
    const whole = {
      virtio: false,
      revision: '1',
      vectors: '3',
      queues: '2',
      failover: 'off',
      slot: 'ordinary',
      link: 'up',
      'enable-migration': 'on',
    };
    expect(nicChoiceOf('vf')).toEqual({ functions: 1, ...whole });
    expect(nicChoiceOf('vf=2,enable-migration=off')).toEqual({
      ...whole,
      functions: 2,
      'enable-migration': 'off',
    });
    for (const kind of [
      'vf,',
      'vf,enable-migration',
      'vf,enable-migration=',
      'vf,enable-migration=maybe',
      'vf,enable-migration=off=on',
      'vf,enable-migration=off,enable-migration=off',
      'vf,toString=on',
      'none,enable-migration=off',
      'virtio,enable-migration=off',
      'vf=2,failover=on',
      ',enable-migration=off',
    ]) {
      expect(nicChoiceOf(kind), kind).toBeUndefined();
    }
  });
});

describe('the addresses of virtual functions', () => {
  it('are those given, and then each the one after the last, within the vendor', () => {
    expect(stations('52:54:00:12:34:56', 3)).toEqual([
      '52:54:00:12:34:56',
      '52:54:00:12:34:57',
      '52:54:00:12:34:58',
    ]);
    expect(stations('52:54:00:00:00:01,52:54:00:00:00:ff', 3)).toEqual([
      '52:54:00:00:00:01',
      '52:54:00:00:00:ff',
      '52:54:00:00:01:00',
    ]);
    expect(stations('52:54:00:ff:ff:ff', 2)).toEqual(['52:54:00:ff:ff:ff', '52:54:00:00:00:00']);
  });

  it.each([
    ['52:54:00:12:34', 1, /no station's MAC address/],
    ['01:00:5e:00:00:01', 1, /no station's MAC address/],
    ['00:00:00:00:00:00', 1, /no station's MAC address/],
    ['52:54:00:00:00:01,', 2, /'' is no station's MAC address/],
    ['52:54:00:00:00:01,52:54:00:00:00:02', 1, /^2 MAC addresses for 1 virtual function$/],
    [
      '52:54:00:00:00:01,52:54:00:00:00:01',
      2,
      /^two virtual functions have the MAC address 52:54:00:00:00:01$/,
    ],
    [
      '52:54:00:00:00:02,52:54:00:00:00:01',
      3,
      /^two virtual functions have the MAC address 52:54:00:00:00:02$/,
    ],
  ] as const)('%s for %i functions are refused in words', (text, functions, why) => {
    expect(stations(text, functions)).toMatch(why);
  });
});

describe('a VMM', () => {
  const nic = (options: VmmOptions) => settle({ guest: 'x', ...options }, false).nic;

  it('has as many functions as asked for, and says what it could not give', () => {
    expect(nic({})).toBeUndefined();
    expect(nic({ nic: 'vf' })?.macs).toEqual([[0x52, 0x54, 0, 0x12, 0x34, 0x56]]);
    expect(nic({ nic: 'vf=4', mac: '52:54:00:00:00:fe' })?.macs.map((mac) => mac.at(-1))).toEqual([
      0xfe, 0xff, 0, 1,
    ]);
    const mac = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
    expect(nic({ nic: 'vf' })).toMatchObject({ macs: [mac], virtio: [] });
    expect(nic({ nic: 'virtio' })).toMatchObject({ macs: [], virtio: [{ mac, standby: false }] });
    expect(nic({ nic: 'vf,failover=on' })).toMatchObject({ macs: [mac], virtio: [{ mac, standby: true }] });
    expect(nic({ nic: 'vf' })?.offer).toEqual({ revision: 1, vectors: 3, queues: 2 });
    expect(nic({ nic: 'vf,queues=1,revision=2,vectors=2' })?.offer).toEqual({
      revision: 2,
      vectors: 2,
      queues: 1,
    });
    expect(() => nic({ nic: 'vf=9' })).toThrow(
      /'vf=9' is no NIC: vf, vf=1 to vf=8, virtio, or none; after a function .*,enable-migration=on.off/,
    );
    expect(() => nic({ nic: 'vf', mac: 'x' })).toThrow(/'x' is no station's MAC address/);
    expect(() => nic({ mac: '52:54:00:00:00:01' })).toThrow(/--mac is of no use without --nic vf/);
  });
});
