# The engine sets up the network. It also mounts /etc/hosts, /etc/resolv.conf
# and /etc/hostname, and writes them at every start. They cannot be replaced by
# renaming another file (nixpkgs #162686, #343783). So this module adds the
# values of the configuration to the first two files in place. Only the engine
# can set the name of the container.
{
  config,
  lib,
  pkgs,
  ...
}:

let
  cfg = config.networking;
  weakly = lib.mkOverride 900;

  hosts = lib.filterAttrs (_: names: names != [ ]) cfg.hosts;
  # Names of the files that NixOS makes from localhost, networking.hosts and
  # extraHosts.
  own = [
    "localhost-hosts"
    "string-hosts"
    "extra-hosts"
  ];
  hostFiles = lib.filter (file: !(lib.elem (file.name or "") own)) cfg.hostFiles;
  hostsText =
    lib.concatStrings (lib.mapAttrsToList (ip: names: "${ip} ${toString names}\n") hosts)
    + cfg.extraHosts;

  # resolved has these in its own configuration, and programs ask resolved
  # first.
  nameservers = lib.optionals (!config.services.resolved.enable) cfg.nameservers;
  search = lib.optionals (!config.services.resolved.enable) (
    if cfg.search == [ ] then lib.optional (cfg.domain != null) cfg.domain else cfg.search
  );
in

{
  networking.useHostResolvConf = weakly false;
  networking.resolvconf.enable = lib.mkForce false; # it fails unless it owns /etc/resolv.conf
  networking.useDHCP = weakly false;
  networking.dhcpcd.enable = weakly false;
  networking.firewall.enable = weakly false;
  networking.hostName = weakly "";
  system.name = weakly (if cfg.hostName == "" then "container" else cfg.hostName);

  # NixOS's AppArmor reads the source of these entries.
  environment.etc =
    lib.genAttrs
      [
        "hosts"
        "hostname"
        "resolv.conf"
      ]
      (name: {
        enable = lib.mkForce false;
        source = lib.mkOverride 1400 "/etc/${name}";
      });

  # Until 25.05 NixOS sets these itself. With --uts=host that would change the
  # host.
  system.activationScripts.hostname = lib.mkForce "";
  system.activationScripts.domain = lib.mkForce "";

  # Use only bash, because activation scripts have few other programs.
  system.activationScripts.nixociNetwork = {
    deps = [ "etc" ];
    text = ''
      # nixociLines FILE: prints FILE without the lines that nixoci added.
      nixociLines() {
        local line added=
        while IFS= read -r line || [ -n "$line" ]; do
          case $line in
            '# Added by nixoci:') added=1 ;;
            '# End of what nixoci added.') added= ;;
            *) [ -n "$added" ] || printf '%s\n' "$line" ;;
          esac
        done <"$1"
      }

      # nixociAdd FILE BEFORE AFTER OPTIONS ADVICE: adds text before and after the
      # contents of FILE.
      nixociAdd() {
        local old= new= begin='# Added by nixoci:' end='# End of what nixoci added.'
        [ -e "$1" ] && old=$(cat "$1") && new=$(nixociLines "$1")
        [ -z "$2" ] || new=$begin$'\n'$2$'\n'$end$'\n'$new
        [ -z "$3" ] || new=$new$'\n'$begin$'\n'$3$'\n'$end
        [ "$new" = "$old" ] || printf '%s\n' "$new" 2>/dev/null >"$1" ||
          echo "nixoci: $1 cannot be written, so that $4 have no effect: $5" >&2
      }

      nixociHosts=${lib.escapeShellArg (lib.removeSuffix "\n" hostsText)}
      for nixociFile in ${lib.escapeShellArgs hostFiles}; do
        nixociHosts+=$'\n'$(cat "$nixociFile")
      done
      # Some engines, such as LXC, leave this file to the image.
      [ -e /etc/hosts ] || printf '127.0.0.1 localhost\n::1 localhost\n' 2>/dev/null >/etc/hosts || :
      nixociAdd /etc/hosts "" "$nixociHosts" \
        "networking.hosts and networking.extraHosts" \
        "give the engine --add-host NAME:ADDRESS (compose: extra_hosts, Kubernetes: hostAliases)"

      nixociNameservers=${
        lib.escapeShellArg (lib.concatMapStringsSep "\n" (s: "nameserver ${s}") nameservers)
      }
      nixociSearch=${lib.escapeShellArg (toString search)}
      if [ -e /etc/resolv.conf ]; then
        nixociResolv=$(nixociLines /etc/resolv.conf)
        if [ -n "$nixociNameservers" ]; then
          case $nixociResolv in
            # The engine's resolver knows the names of other containers.
            *'nameserver 127.0.0.11'* | *dns.podman* | *.svc.*)
              echo "nixoci: names are resolved by the engine, which knows the other containers: networking.nameservers is left out; give the engine --dns ADDRESS (compose: dns, Kubernetes: dnsConfig)" >&2
              nixociNameservers= ;;
          esac
        fi
        # Only the last search line counts.
        while read -r nixociWord nixociRest; do
          [ "$nixociWord" != search ] || [ -z "$nixociSearch" ] ||
            nixociSearch="${toString search} $nixociRest"
        done <<<"$nixociResolv"
        nixociAdd /etc/resolv.conf "$nixociNameservers" "''${nixociSearch:+search $nixociSearch}" \
          "networking.nameservers and networking.search" \
          "give the engine --dns ADDRESS and --dns-search DOMAIN (compose: dns, dns_search; Kubernetes: dnsConfig)"
      fi
    ''
    + lib.optionalString (cfg.hostName != "") ''

      nixociName=$(cat /proc/sys/kernel/hostname)
      [ "$nixociName" = ${lib.escapeShellArg cfg.hostName} ] ||
        echo "nixoci: the engine calls this container $nixociName, not ${cfg.hostName} as networking.hostName does: give it --hostname ${cfg.hostName} (compose and Kubernetes: hostname)" >&2
    '';
  };
}
