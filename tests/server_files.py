"""A small machine and a small network, as files; searched in a moment."""

CHIP = """\
name: tiny
energy_unit: MAC
word_bits: 16 bit
clock: 100 MHz
compute: {mac_energy: 1 MAC}
sparse: {zeros: gate, of: [input, weight]}
nest:
  - memories:
      - name: dram
        keeps: [input, weight, output]
        access_energy: 200 MAC
        bandwidth: 32 bit/cycle
        formats: {weight: bitmap}
  - memories:
      - {name: buffer, keeps: [input, weight, output], capacity: 512 B, access_energy: 6 MAC}
  - array: pes
    axes: [{name: x, size: 4}]
    hop_energy: 2 MAC
  - memories:
      - {name: spad, keeps: [input, weight, output], capacity: 32 B, access_energy: 1 MAC}
"""
TABLE = """\
# name: small
# not counted: Relu 2
name,in_channels,out_channels,input_height,input_width,kernel_height,kernel_width
conv1,2,3,5,5,3,3
fc,27,5,1,1,1,1
"""
