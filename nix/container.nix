# NixOS as a Docker, podman or Kubernetes container.
#
# Works with nixpkgs 24.05 to 26.11; see docs/nixos-module.md for what it sets,
# and nix/check.sh for how to check it against a nixpkgs.
{
  config,
  options,
  lib,
  pkgs,
  ...
}:

let
  cfg = config.nixoci;
  inherit (import ./options.nix { inherit lib options; }) set setFirst;

  # Beats what NixOS's own modules set with mkDefault (1000), and yields to
  # whatever a configuration says plainly (100).
  weakly = lib.mkOverride 900;

  # The mount unit NAME needs the capability.
  ifItMayMount =
    name:
    pkgs.writeTextFile {
      name = "nixoci-${name}";
      destination = "/etc/systemd/system/${name}.mount.d/nixoci.conf";
      text = ''
        [Unit]
        ConditionCapability=CAP_SYS_ADMIN
      '';
    };

  # A unit that runs nixoci-init COMMAND.
  service = command: unit: {
    inherit (unit) description after;
    wantedBy = [ "multi-user.target" ];
    path = [
      config.nix.package
      pkgs.gitMinimal
    ];
    environment.HOME = "/root";
    # It switches the system it belongs to.
    restartIfChanged = false;
    stopIfChanged = false;
    unitConfig.X-StopOnRemoval = false;
    serviceConfig = {
      Type = unit.type;
      ExecStart = "${cfg.package}/bin/nixoci-init ${command}";
      RemainAfterExit = true;
      SyslogIdentifier = "nixoci";
      LogRateLimitIntervalSec = 0; # a build may say a lot at once
    };
  };
in

{
  imports = [
    ./kernel.nix
    ./minimal.nix
    ./network.nix
  ];

  options.nixoci = {
    package = lib.mkOption {
      type = lib.types.package;
      default = pkgs.callPackage ./nixoci-init.nix { };
      defaultText = lib.literalExpression "pkgs.callPackage ./nixoci-init.nix { }";
      description = "The package with bin/nixoci-init, PID 1 of the container.";
    };

    nixpkgs = lib.mkOption {
      type = lib.types.str;
      # A nixpkgs that is in the store already as a flake's input keeps its
      # path: both are named source and addressed by their contents.
      default = builtins.path {
        name = "source";
        path = pkgs.path;
      };
      defaultText = lib.literalExpression "pkgs.path";
      description = ''
        Store path of the nixpkgs that Nix inside the container uses: in the
        registry, as <nixpkgs>, and for the configuration in /config.
      '';
    };

    apply.enable = lib.mkOption {
      type = lib.types.bool;
      default = config.nix.enable;
      defaultText = lib.literalExpression "config.nix.enable";
      description = ''
        Whether the container builds /config/configuration.nix or
        /config/flake.nix when it starts, and switches to it. Without it the
        image holds neither Nix nor nixpkgs for that purpose.
      '';
    };

    base = lib.mkOption {
      type = lib.types.attrsOf lib.types.unspecified;
      internal = true;
      default = {
        version = 1;
        system = pkgs.stdenv.hostPlatform.system;
        minimal = cfg.minimal;
        # Only a flake's nixpkgs knows which version it is.
        nixos = { inherit (config.system.nixos) versionSuffix revision; };
        nixpkgs = cfg.nixpkgs;
        module = "${(import ./source.nix { inherit lib; }).module}/nix";
        init = "${cfg.package}";
        nix = "${config.nix.package}";
      };
      description = ''
        What a configuration in /config is built from: the contents of
        /etc/nixoci/base.json. A system that was built from it carries it on
        unchanged, so that it is recognised when the container starts again.
      '';
    };
  };

  config = lib.mkMerge [
    {
      boot.isContainer = true;

      # PID 1's init is the stage 2 script, and there is no stage 1.
      boot.initrd.enable = lib.mkForce false;
      system.etc.overlay.enable = lib.mkForce false;
      # Where a configuration is a computer's as well: nothing here starts one.
      boot.loader.grub.enable = lib.mkForce false;
      boot.loader.systemd-boot.enable = lib.mkForce false;
      system.build.installBootLoader = lib.mkForce "${pkgs.coreutils}/bin/true";

      # NixOS says these plainly for containers, which a configuration that is a
      # computer's as well contradicts.
      security.audit.enable = lib.mkForce false;
      services.udev.enable = lib.mkForce false;

      # The engine mounts these; without CAP_SYS_ADMIN nobody else can.
      boot.specialFileSystems = lib.mkForce { };
      system.activationScripts.specialfs = lib.mkForce "";
      # A mount that fails: go on, since nobody can log in to repair it.
      systemd.enableEmergencyMode = weakly false;

      # Nobody logs in on a console that is a log. Without the target, those that
      # a configuration has for terminals of its own are not waited for either.
      systemd.targets.getty.enable = weakly false;
      systemd.services."getty@".enable = weakly false;
      systemd.services."serial-getty@".enable = weakly false;
      systemd.services."autovt@".enable = weakly false;
      systemd.services."container-getty@".enable = weakly false;
      systemd.services.console-getty.enable = weakly false;
      # Whoever may run commands in the container is root there.
      users.allowNoPasswordLogin = weakly true;

      # The log is the console. nixoci-init asks for the same on the kernel
      # command line; this is for systems that are started by something else.
      services.journald.console = weakly "/dev/console";

      # Hardware, time, and what needs privileges only to fail without them.
      console.enable = weakly false;
      services.fstrim.enable = weakly false;
      services.lvm.enable = weakly false;
      services.timesyncd.enable = weakly false;
      systemd.oomd.enable = weakly false;
      systemd.coredump.enable = weakly false;
      systemd.shutdownRamfs.enable = weakly false;
      # Newer ones enable them where there are some; older ones, everywhere.
      boot.enableContainers = weakly (config.containers != { });

      # A unit that listens, and not one that systemd listens for: the engine
      # publishes ports. There are no virtual machine's sockets either; what NixOS
      # has for those are drop-ins, which are left out rather than masked.
      services.openssh.startWhenNeeded = weakly false;
      systemd.sockets.sshd-vsock.enable = weakly false;
      systemd.services."sshd-vsock@".enable = weakly false;
      systemd.suppressedSystemUnits = [
        "sshd-vsock.socket"
        "sshd-vsock@.service"
      ];
      systemd.generators.systemd-ssh-generator = weakly "/dev/null";

      # The engine has set up the network before the container starts.
      systemd.network.wait-online.enable = weakly false;

      # nixoci-init, or a mount, has written /etc/machine-id.
      systemd.services.systemd-machine-id-commit.enable = weakly false;

      # Mounts that a container has no use for: systemd tries them when it may, and
      # a kernel that lacks one makes the whole system degraded.
      systemd.units =
        lib.genAttrs
          [
            "dev-hugepages.mount"
            "sys-fs-fuse-connections.mount"
            "sys-kernel-config.mount"
            "sys-kernel-debug.mount"
            "sys-kernel-tracing.mount"
          ]
          (_: {
            enable = weakly false;
          });

      # Which version of a database a configuration gets that does not say it.
      # Never raised: the data of the containers that there are would not be
      # found again. A nixpkgs that is older than this has not got it yet. Weaker
      # than mkDefault (1000), with which some of NixOS's profiles set it.
      system.stateVersion = lib.mkOverride 1400 (
        if lib.versionOlder lib.trivial.release "26.05" then lib.trivial.release else "26.05"
      );
    }

    # Below, the only five options that are asked for: they came or were renamed
    # between 24.05 and 26.11, or nobody has seen them in 24.05. All others that
    # this module sets are in each of these.

    # PID 1: /sbin/init of the image leads here.
    (setFirst
      [
        [ "system" "systemBuilderCommands" ] # from 25.11 on
        [ "system" "extraSystemBuilderCmds" ]
      ]
      ''
        ln -s ${cfg.package}/bin/nixoci-init $out/nixoci-init
      ''
    )

    # The store is a layer of the image; a bind mount over it cannot be made.
    (setFirst
      [
        [ "boot" "nixStoreMountOpts" ] # from 25.05 on
        [ "boot" "readOnlyNixStore" ]
      ]
      (lib.mkOverride 900 (if options.boot ? nixStoreMountOpts then [ ] else false))
    )

    (set [ "system" "nixos-init" "enable" ] (lib.mkForce false)) # from 25.11 on
    # Seen in every nixpkgs that was looked at, but in none of 24.05: its tools
    # are not worth a system that does not evaluate.
    (set [ "boot" "bcache" "enable" ] (weakly false))
    (set [ "boot" "kexec" "enable" ] (weakly false))

    (lib.mkIf config.networking.networkmanager.enable {
      systemd.services.NetworkManager-wait-online.enable = weakly false;
    })

    # What NixOS mounts for itself is skipped where the container may not mount.
    # /tmp is a directory of the image's then; the wrappers lie in /run, which
    # engines mount nosuid. The option is newer than the wrappers, and here it
    # decides a value alone.
    (lib.mkIf (config.security.enableWrappers or true) {
      systemd.packages = [ (ifItMayMount "run-wrappers") ];
      systemd.services.suid-sgid-wrappers.preStart = "mkdir -p /run/wrappers";
    })
    (lib.mkIf config.boot.tmp.useTmpfs {
      systemd.packages = [ (ifItMayMount "tmp") ];
    })
    # Where nothing may be mounted, these units would fail: with immutable users they
    # mount the files with the passwords over themselves, for reading alone. Both are
    # newer than 24.05.
    (lib.mkIf (!config.users.mutableUsers && (config.services.userborn.enable or false)) {
      systemd.services.userborn.serviceConfig.ExecStartPost = lib.mkForce [ ];
    })
    (lib.mkIf (!config.users.mutableUsers && (config.systemd.sysusers.enable or false)) {
      systemd.services.systemd-sysusers.serviceConfig.ExecStartPost = lib.mkForce [ ];
    })

    # Nix in the container.
    (lib.mkIf cfg.apply.enable {
      # Its sandbox needs privileges that a container does not have.
      nix.settings.sandbox = weakly false;
      # Not experimental-features: a configuration may say that as a string,
      # which does not merge with a list.
      nix.settings.extra-experimental-features = [
        "nix-command"
        "flakes"
      ];
      # NixOS takes it that the container's Nix is the host's.
      environment.variables.NIX_REMOTE = lib.mkForce "";
      nix.nixPath = weakly [
        "nixpkgs=${cfg.nixpkgs}"
        "nixos-config=/config/configuration.nix"
      ];
      # Weaker than mkDefault (1000), as which NixOS sets what a configuration
      # says with nix.registry.nixpkgs.flake, and nixpkgs.flake.source.
      nix.registry.nixpkgs.to = lib.mkOverride 1100 {
        type = "path";
        path = cfg.nixpkgs;
      };
      system.switch.enable = weakly true;

      # Links of NixOS' own to /dev/null, one for each unit that is masked. The
      # system does not refer to them, but the next one is made of them.
      system.extraDependencies = map (unit: unit.unit) (
        lib.filter (unit: !unit.enable) (lib.attrValues config.systemd.units)
      );

      environment.etc."nixoci/base.json".text = builtins.toJSON cfg.base + "\n";

      systemd.services.nixoci-apply = service "apply" {
        description = "Build and switch to the configuration in /config";
        # Where the container's own network or resolver is in use. It builds
        # while systemd starts; root needs no nix-daemon.
        after = [
          "network.target"
          "nss-lookup.target"
        ];
        # Started as soon as it runs: the switch waits for the boot to end, which
        # must not wait for the build.
        type = "notify";
      };
      systemd.services.nixoci-watch = service "watch" {
        description = "Apply the configuration again when it changes";
        after = [ "nixoci-apply.service" ];
        type = "exec"; # it ends at once unless NIXOCI_WATCH=1
      };
    })
  ];
}
