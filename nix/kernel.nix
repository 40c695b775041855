# The kernel is the host's, and all containers share it. What NixOS, or a
# configuration that is a computer's as well, would change of it is left out, since
# it would otherwise be done wherever the engine lets the container write to /proc
# and /sys. A configuration that asks for it is told so.
{
  config,
  options,
  lib,
  modulesPath,
  ...
}:

let
  # Which settings of the kernel are a container's own, and not the host's: the
  # same that Docker and Kubernetes take with --sysctl.
  namespaced =
    name:
    lib.hasPrefix "net." name
    || lib.hasPrefix "fs.mqueue." name
    || lib.elem name [
      "kernel.msgmax"
      "kernel.msgmnb"
      "kernel.msgmni"
      "kernel.sem"
      "kernel.shmall"
      "kernel.shmmax"
      "kernel.shmmni"
      "kernel.shm_rmid_forced"
    ];
  # Those of the host that the configuration itself asks for, and not NixOS.
  refused = lib.unique (
    lib.concatMap (
      definition:
      lib.optionals (!lib.hasPrefix (toString modulesPath) (toString definition.file)) (
        lib.filter (name: !namespaced name) (lib.attrNames definition.value)
      )
    ) options.boot.kernel.sysctl.definitionsWithLocations
  );

  setsSysfs = (config.boot.kernel.sysfs or { }) != { };

  # Units are skipped rather than masked, since others may need them.
  notHere.unitConfig.ConditionVirtualization = "!container";

  # hosts OPTION SET UNITS: units that do to the host's kernel what OPTION says.
  hosts =
    option: isSet: units:
    lib.mkIf isSet {
      warnings = [
        "nixoci: ${option} would change the kernel of the host, which all containers share, and has no effect in this one. Set it on the host."
      ];
      systemd.services = lib.genAttrs units (_: notHere);
    };

  # needs CAPABILITY EXISTS UNIT: without the capability the unit is skipped, where
  # it would fail.
  needs =
    capability: exists: unit:
    lib.mkIf exists {
      systemd.services.${unit}.unitConfig.ConditionCapability = capability;
    };
in

{
  # systemd-sysctl would set the kernel up anew. This adds to the option that NixOS
  # declares.
  options.boot.kernel.sysctl = lib.mkOption {
    apply = lib.filterAttrs (name: _: namespaced name);
  };

  config = lib.mkMerge [
    {
      warnings = lib.optional (refused != [ ]) ''
        nixoci: boot.kernel.sysctl: ${lib.concatStringsSep ", " refused} would change the kernel of the host, which all containers share, and is left out of this one. Set it on the host.
      '';

      # NixOS says these plainly for containers, which a configuration that is a
      # computer's as well contradicts. With the second, activation would tell the
      # kernel to load modules by a program that only the container has.
      boot.kernel.enable = lib.mkForce false;
      boot.modprobeConfig.enable = lib.mkForce false;

      environment.etc."sysctl.d/50-default.conf".enable = lib.mkForce false;
      environment.etc."sysctl.d/50-coredump.conf".enable = lib.mkForce false;
      environment.etc."sysctl.d/55-nixos-aslr-entropy.conf".enable = lib.mkForce false;
    }

    # Interpreters that only the container has; and when it stops, systemd-binfmt
    # takes away those that the host has.
    (hosts "boot.binfmt" (config.boot.binfmt.registrations != { }) [ "systemd-binfmt" ])
    (lib.mkIf (config.boot.binfmt.registrations != { }) {
      systemd.suppressedSystemUnits = [
        "proc-sys-fs-binfmt_misc.automount"
        "proc-sys-fs-binfmt_misc.mount"
      ];
    })
    # Newer than 25.05. A path unit whose service is skipped would start it again
    # and again.
    (hosts "boot.kernel.sysfs" setsSysfs [ "nixos-sysfs@" ])
    (lib.mkIf setsSysfs { systemd.paths."nixos-sysfs@" = notHere; })
    (hosts "hardware.ksm.enable" config.hardware.ksm.enable [ "enable-ksm" ])
    # It begins with taking away all policies that the kernel has.
    (hosts "security.apparmor.enable" config.security.apparmor.enable [ "apparmor" ])
    # Without a word, since a container loads no modules: NixOS's profile for
    # hardened systems sets it.
    (lib.mkIf config.security.lockKernelModules {
      systemd.services.disable-kernel-module-loading = notHere;
    })

    # The clock is the host's, unless the engine lets the container set it.
    (needs "CAP_SYS_TIME" config.services.chrony.enable "chronyd")
    (needs "CAP_SYS_TIME" config.services.ntp.enable "ntpd")
    (needs "CAP_SYS_TIME" config.services.ntpd-rs.enable "ntpd-rs")
    (needs "CAP_SYS_TIME" config.services.openntpd.enable "openntpd")
    # So is the network, where the engine gives the container no network of its own.
    (needs "CAP_NET_ADMIN" config.networking.nftables.enable "nftables")
    (needs "CAP_NET_ADMIN" config.networking.firewall.enable "firewall")
  ];
}
