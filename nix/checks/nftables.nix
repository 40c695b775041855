{
  configuration = {
    networking.nftables.enable = true;
    networking.firewall.enable = true;
    networking.nftables.tables.own = {
      family = "inet";
      content = "chain input { type filter hook input priority 10; }";
    };
  };
  expected.systemd.services.nftables.unitConfig.ConditionCapability = "CAP_NET_ADMIN";
}
